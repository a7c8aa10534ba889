"""The cost of a network: parameters, and multiply-accumulates (MACs) per example.

One multiply-accumulate counts as 1. Convolution and linear layers are counted, and so are the matrix products of
operations without a rule (attention). Biases, normalisation and pooling are not. LeNet-5 has 2,293,000 MACs. (PyTorch's
own counter reports FLOPs, which are twice that.)
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.graph.channel_graph import ChannelGraph, elements
from trimcore.graph.removal import Cut, removed_groups
from trimcore.graph.tracing import trace


@dataclass(frozen=True)
class LayerCost:
    kind: str
    width: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """`layers` has the convolution and linear layers in depth order, and other parts with weights or MACs (width 0).
    `parameters` counts the whole network."""

    parameters: int
    macs: int
    layers: dict[str, LayerCost]

    @property
    def widths(self) -> dict[str, int]:
        return {name: layer.width for name, layer in self.layers.items() if layer.width}


def cost(model: nn.Module, example_input: Tensor | tuple[Any, ...]) -> Cost:
    """Parameters and MACs of `model` for inputs of that shape. Raises NotTrimmable if the model cannot be traced.

    >>> from trimcore import build
    >>> c = cost(build("lenet5"), torch.zeros(1, 1, 28, 28))
    >>> c.parameters, c.macs
    (431080, 2293000)
    """
    return cost_of(trace(model, example_input))


def cost_of(graph: ChannelGraph, plan: Cut | None = None) -> Cost:
    """The cost of a traced network, or of the network after `plan`. Computed from the graph; nothing is cut."""
    removed = removed_groups(graph, plan or {})
    return cost_without(graph, removed)


def cost_without(graph: ChannelGraph, removed: Tensor) -> Cost:
    """The cost without the channel groups of the mask `removed`, (group_count,), over the groups of `graph.fine`."""
    parameters, shapes, fixed = graph.parameters, graph.fine.shapes, _parameters_of_fixed(graph)
    layers: dict[str, LayerCost] = {}
    for part, sizes in zip(graph.fine.parts.values(), graph.fine.sizes(removed).values(), strict=True):
        own = shapes[part.name]
        kept = sum(elements(shape, roles, sizes) for shape, roles in own)
        parameters += kept - sum(shape.numel() for shape, _ in own)
        if part.kind == "fixed":
            kept = fixed[part.name]
        if part.name in graph.layers:
            layers[part.name] = LayerCost(part.kind, sizes["out"], kept, part.macs(sizes))
    return Cost(parameters, sum(layer.macs for layer in layers.values()), layers)


def _parameters_of_fixed(graph: ChannelGraph) -> dict[str, int]:
    """The parameters of each fixed part that belong to no other part."""
    parts = graph.fine.parts.values()
    fixed = [part for part in parts if part.kind == "fixed"]
    counted = {id(tensor) for part in parts for _, tensor, _ in part.tensors()} if fixed else set()
    found = {}
    for part in fixed:
        own = {id(p): p.numel() for p in part.module.parameters() if id(p) not in counted}
        found[part.name] = sum(own.values())
        counted |= own.keys()
    return found


def nonzero_parameters(model: nn.Module) -> int:
    """The number of parameters that are not exactly zero."""
    return int(sum(torch.count_nonzero(p) for p in model.parameters()))
