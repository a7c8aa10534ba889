"""Where a neuron is in the channel graph, its own weights, and what its removal saves."""

import math
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from trimcore.compute.modes import in_mode
from trimcore.errors import NotTrimmable
from trimcore.graph.channel_graph import ChannelGraph, Site, elements
from trimcore.graph.costs import cost_without
from trimcore.graph.probes import with_probes


class Place:
    """Where a neuron is in the graph. `graph` is restricted to the sites that show the neuron; `number` is the index of
    the first of them after its layer."""

    def __init__(self, graph: ChannelGraph, layer: str, neuron: int):
        fine, self.layer, self.neuron = graph.fine, layer, neuron
        width = fine.layer(layer).width
        if not 0 <= neuron < width:
            raise NotTrimmable(f"layer {layer!r} has neurons 0 to {width - 1}, not {neuron}")
        self.group, self.part = int(fine.layers[layer].neurons[neuron]), fine.parts[layer]
        sites = [site for site in fine.sites if self.group in site.groups]
        if not sites and layer in graph.units:  # without an activation, use the input of the maximum
            units = graph.units[layer]
            sites = [Site(units.source, units.dim, fine.parts[units.maxout].inputs)]
        if neuron not in fine.candidates(layer) or not sites:
            why = fine.frozen.get(self.group, "it reaches no activation")
            raise NotTrimmable(f"neuron {neuron} of layer {layer!r} cannot be removed: {why}")
        self.graph = replace(fine, sites=sites)
        self.indices = [(site.groups == self.group).nonzero().flatten() for site in sites]
        self.node = next(n for n in fine.graph.nodes if n.op == "call_module" and n.target == layer)
        behind = {self.node}
        for node in fine.graph.nodes:
            behind |= {node} if behind.intersection(node.all_input_nodes) else set()
        names = {node.name for node in behind}
        self.number = next((i for i, site in enumerate(sites) if site.node in names), 0)

    def maps(self, x: Tensor, number: int) -> Tensor:
        """The neuron's maps in an activation x: (N, h, w) on the CPU."""
        axis = self.graph.sites[number].axis
        y = x.index_select(axis, self.indices[number].to(x.device)).movedim(axis, 1).cpu()
        return y.reshape(len(y), -1, y.shape[-1] if y.dim() > 2 else 1)

    def held(self, x: Tensor, number: int) -> Tensor:
        return x.index_fill(self.graph.sites[number].axis, self.indices[number].to(x.device), 0)


def weights_of(place: Place, device: torch.device) -> dict[str, Any]:
    """The neuron's incoming weights, its bias, and the norm of the weights."""
    module, neuron = place.part.module, place.neuron
    weights = place.part.weights[0][0].detach().float().cpu()
    biases = cast(Tensor | None, getattr(module, "bias", None))
    bias = None if not isinstance(biases, Tensor) else float(biases.detach()[neuron])
    if isinstance(module, _ConvTransposeNd):  # (in, out of one group, ...)
        block, index = divmod(neuron, weights.shape[1])
        own = weights.chunk(module.groups)[block][:, index]
    elif isinstance(module, nn.RNNBase):  # a row for each gate
        own = weights.view(-1, module.hidden_size, weights.shape[1])[:, neuron]
    else:
        own = weights[neuron]
    norm, shape = float(own.double().norm()), _flattened(place, device) if own.dim() == 1 else own.shape
    return {"weights": own.reshape(shape).clone(), "bias": bias, "norm": norm}


def _flattened(place: Place, device: torch.device) -> tuple[int, ...]:
    """The shape (channels, h, w) of the map that is flattened into the layer's input, or (in,) if there is none."""
    behind, node, inputs = [], place.node.args[0], place.part.inputs
    while isinstance(node, torch.fx.Node) and not (node.op == "call_module" and node.target in place.graph.parts):
        behind.append(node.name)
        node = node.args[0] if node.args else None
    shapes: list[torch.Size] = []
    network = with_probes(place.graph, lambda x, _: shapes.append(getattr(x, "shape", torch.Size())), after=behind)
    with in_mode(place.graph.model, training=False), torch.inference_mode():
        network(torch.zeros(1, *place.graph.inputs[0].shape[1:], device=device))
    for shape in shapes:
        if len(shape) == 4 and math.prod(shape[1:]) == len(inputs):
            by_channel = inputs.view(shape[1], -1)  # only the order (channel, position) is a flattened map
            return tuple(shape[1:]) if (by_channel == by_channel[:, :1]).all() else inputs.shape
    return inputs.shape


def removal(graph: ChannelGraph, place: Place) -> dict[str, Any]:
    """What removing the neuron saves and removes, according to the channel graph."""
    fine, modules, takes = graph.fine, dict(graph.model.named_modules()), {}
    gone = torch.arange(fine.group_count) == place.group
    for part, sizes in zip(fine.parts.values(), fine.sizes(gone).values(), strict=True):
        for name, tensor, roles in part.tensors():
            less = tensor.numel() - elements(tensor.shape, roles, sizes)
            if less and isinstance(tensor, torch.nn.Parameter):
                takes[f"{part.name}.{name}" if part.name in modules else part.name] = less
    before, after = cost_without(fine, torch.zeros_like(gone)), cost_without(fine, gone)
    k = graph.units[place.layer].k if place.layer in graph.units else 1
    first = place.neuron // k * k
    return {
        "takes": takes, "parameters": before.parameters - after.parameters, "macs": before.macs - after.macs,
        "together": tuple(fine.together(place.layer, [place.neuron])),
        "mates": tuple(i for i in range(first, first + k) if i != place.neuron),
    }  # fmt: skip
