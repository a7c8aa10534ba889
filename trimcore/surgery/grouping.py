"""Convert hidden linear layers of a trained ReLU network to maxout layers (Rueda et al. 2017, arXiv 1707.06838).

This module finds the layers that can be converted and inserts the units. `unit_choice` chooses the neurons per unit.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from trimcore.compute.modes import in_mode
from trimcore.errors import CheckpointError, DataError, SpecError, TrimError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.nodes import target
from trimcore.layers.maxout import Maxout, set_units
from trimcore.surgery import unit_choice


@dataclass(frozen=True)
class Place:
    """Where the units of a layer go: the name of the future Maxout module and of the layer after it."""

    maxout: str
    next_layer: str


def groupable(graph: ChannelGraph) -> dict[str, Place]:
    """The linear layers that can become maxout layers, in depth order.

    They have the form linear -> ReLU (-> dropout) -> linear. Nothing else may use the values in between, each step must
    be a module that is called once, every neuron must be trimmable by itself, and the values must be vectors (N, n).
    """
    modules = dict(graph.model.named_modules())
    calls = [node.target for node in graph.graph.nodes if node.op == "call_module"]
    axes, found = {site.node: site.axis for site in graph.sites}, dict[str, Place]()
    for node in graph.graph.nodes:
        steps = list(_chain_from(node, modules))
        names = [target(step) for step in steps]
        kinds = [type(modules[name]) for name in names]
        if len(steps) < 3 or kinds[1] is not nn.ReLU or kinds[-1] is not nn.Linear or axes.get(steps[1].name) != 1:
            continue
        layer, *_, last, next_layer = names
        once = all(calls.count(name) == 1 for name in names)
        free = layer in graph.layers and len(graph.candidates(layer)) == graph.layers[layer].width
        if once and free and _parts_sharing_channels(graph, layer) == {layer, next_layer}:
            found[layer] = Place(f"{last}.maxout", next_layer)
    return found


def _chain_from(node: fx.Node, modules: dict[str, nn.Module]) -> Iterator[fx.Node]:
    """Yields the nodes from a linear layer through ReLU and dropout to the next linear layer, or as far as possible."""
    if node.op != "call_module" or type(modules[target(node)]) is not nn.Linear:
        return
    yield node
    while len(node.users) == 1:
        (node,) = node.users
        if node.op != "call_module" or type(modules[target(node)]) not in (nn.ReLU, nn.Dropout, nn.Linear):
            return
        yield node
        if type(modules[target(node)]) is nn.Linear:
            return


def _parts_sharing_channels(graph: ChannelGraph, layer: str) -> set[str]:
    """The parts that have channels of a layer, including parts that are only used in training."""
    own = torch.zeros(graph.group_count, dtype=torch.bool)
    own[graph.layers[layer].neurons] = True
    return {part.name for part in graph.parts.values() if any(own[groups].any() for groups in part.groups.values())}


def insert(network: nn.Module, units: Mapping[str, int]) -> nn.Module:
    """Insert maxout modules into a network. `units` maps their names to neurons per unit.

    "relu3.maxout" is inserted after `relu3`, a module without weights. A Sequential of both replaces it, so that no
    name in the state dict changes. An existing Maxout module is set to k. With k = 1 there is no maximum, so nothing
    is inserted. Changes and returns `network`. Raises CheckpointError for a name that cannot be inserted.
    """
    modules = dict(network.named_modules())
    for name, k in units.items():
        before, _, child = name.rpartition(".")
        if isinstance(modules.get(name), Maxout):
            set_units(network, {name: k})
        elif not before or before not in modules or child != "maxout" or modules[before].state_dict():
            raise CheckpointError(
                f"cannot insert maxout units at {name!r}; expected '<module>.maxout' with a module without weights"
            )
        elif k > 1:
            pair = nn.Sequential(OrderedDict(activation=modules[before], maxout=Maxout(k)))
            owner, _, own = before.rpartition(".")
            network.get_submodule(owner)._modules[own] = pair.train(modules[before].training)
    return network


def group(graph: ChannelGraph, batches: Iterable[Any], layers: Iterable[str], k: int) -> dict[str, list[int]]:
    """Convert `layers` to maxout layers with units of `k` neurons, in place. Without names, convert all that can be.

    `batches` are examples, or tuples that start with them. They are iterated twice per layer, in evaluation mode. The
    layers are converted in depth order, each with the previous ones already converted. Returns the new order of each
    layer's neurons: neuron i was neuron order[i] before. The graph's network must be traced again afterwards.

    Before anything changes, raises SpecError for a layer that cannot be grouped or whose number of neurons is not
    divisible by k. Raises DataError if there are no examples, and TrimError if an activation is NaN or infinite.
    """
    places = check(graph, layers, k)
    return {name: _group(graph.model, name, place, batches, k) for name, place in places.items()}


def check(graph: ChannelGraph, layers: Iterable[str], k: int) -> dict[str, Place]:
    """The places of `layers` in depth order. Without names, the places of all layers that can become maxout layers.

    Raises SpecError if the network has no such layer, if a named layer cannot be converted, or if the number of neurons
    of a layer is not divisible by `k`.
    """
    places = groupable(graph)
    chosen = set(layers) or set(places)
    if not chosen:
        name = type(graph.model).__name__
        raise SpecError(f"this {name} has no hidden linear layer with a ReLU that can become a maxout layer")
    if k < 2:
        raise SpecError(f"grouping needs at least 2 neurons per maxout unit, not {k}")
    if other := sorted(chosen - set(places)):
        known = ", ".join(places) or "none"
        raise SpecError(f"layer {other[0]!r} cannot become a maxout layer; layers that can: {known}")
    for name in places:
        width = graph.layers[name].width
        if name in chosen and width % k:
            divisors = ", ".join(str(d) for d in range(2, 17) if width % d == 0) or "none up to 16"
            raise SpecError(f"layer {name!r} has {width} neurons, not a multiple of k = {k}; valid k: {divisors}")
    return {name: place for name, place in places.items() if name in chosen}


@torch.no_grad()
def _group(network: nn.Module, name: str, place: Place, batches: Iterable[Any], k: int) -> list[int]:
    layer, after = _linear(network, name), _linear(network, place.next_layer)
    gram = _sum(a.T @ a for a in _inputs_of(network, after, batches))
    order = unit_choice.units(unit_choice.costs(gram, after.weight.to(gram)).cpu(), gram.diag().cpu(), k).flatten()
    for tensor in (layer.weight, layer.bias):
        if tensor is not None:
            tensor.copy_(tensor[order.to(tensor.device)])
    after.weight.copy_(after.weight[:, order.to(after.weight.device)])
    moments = _sum(unit_choice.products(a, k) for a in _inputs_of(network, after, batches))
    bias = None if after.bias is None else after.bias.to(moments)
    weight, fitted = unit_choice.refit(after.weight.to(moments), bias, moments)
    if fitted is not None:
        after.bias.copy_(fitted)
    _install(network, place, k, weight.to(after.weight))
    return order.tolist()


def _linear(network: nn.Module, name: str) -> nn.Linear:
    return cast(nn.Linear, network.get_submodule(name))


def group_on_meta(graph: ChannelGraph, layers: Iterable[str], k: int) -> nn.Module:
    """The graph's network, which must be on the meta device, converted to the shapes that `group` would produce.

    Raises SpecError as `group` does.
    """
    for place in check(graph, layers, k).values():
        weight = _linear(graph.model, place.next_layer).weight
        _install(graph.model, place, k, weight.detach()[:, : weight.shape[1] // k])
    return graph.model


def _install(network: nn.Module, place: Place, k: int, weight: Tensor) -> None:
    """Insert the maximum and set the weights (m, n / k) of the next layer."""
    after = _linear(network, place.next_layer)
    after.weight = nn.Parameter(weight, after.weight.requires_grad)
    after.in_features = weight.shape[1]
    insert(network, {place.maxout: k})


def _inputs_of(network: nn.Module, layer: nn.Linear, batches: Iterable[Any]) -> Iterator[Tensor]:
    """Yields the inputs of a layer, batch by batch. (B, n), float64"""
    inputs: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    device = layer.weight.device
    try:
        with in_mode(network, training=False):
            for batch in batches:
                network((batch[0] if isinstance(batch, tuple | list) else batch).to(device))
                a = inputs.pop()
                yield (a.cpu() if a.is_mps else a).double()  # mps has no float64
    finally:
        hook.remove()


def _sum(products: Iterable[Tensor]) -> Tensor:
    total = None
    for product in products:
        total = product if total is None else total.add_(product)
    if total is None:
        raise DataError("there are no examples to group neurons with: the loader is empty or can be iterated only once")
    if not total.isfinite().all():
        raise TrimError("cannot group neurons: some activations are NaN or infinite")
    return total
