"""What a network costs: parameters, and multiply-accumulates of one example.

Convention: one multiply-accumulate counts as one; convolution and linear layers are counted, and the matrix products of
operations without a rule (attention); biases, normalisation and pooling are not. LeNet-5 has 2,293,000. (PyTorch's own
counter reports twice that, in FLOPs.)
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
    """`layers` are the convolution and linear layers in depth order, and what else has weights or work (of width 0);
    `parameters` is of the whole network."""

    parameters: int
    macs: int
    layers: dict[str, LayerCost]

    @property
    def widths(self) -> dict[str, int]:
        return {name: layer.width for name, layer in self.layers.items() if layer.width}


def cost(model: nn.Module, example_input: Tensor | tuple[Any, ...]) -> Cost:
    """Parameters and MACs of `model` for inputs of that shape. Raises NotTrimmable when it cannot be traced.

    >>> from trimcore import build
    >>> c = cost(build("lenet5"), torch.zeros(1, 1, 28, 28))
    >>> c.parameters, c.macs
    (431080, 2293000)
    """
    return cost_of(trace(model, example_input))


def cost_of(graph: ChannelGraph, plan: Cut | None = None) -> Cost:
    """The cost of a traced network, after `plan` if there is one: computed from the graph, nothing is cut."""
    gone = removed_groups(graph, plan or {})
    return cost_without(graph, gone)


def cost_without(graph: ChannelGraph, gone: Tensor) -> Cost:
    """The cost when the channel groups of the mask `gone`, of `graph.fine`, are away. (group_count,)"""
    parameters, shapes, fixed = graph.parameters, graph.fine.shapes, _parameters_of_fixed(graph)
    layers: dict[str, LayerCost] = {}
    for part, sizes in zip(graph.fine.parts.values(), graph.fine.sizes(gone).values(), strict=True):
        own = shapes[part.name]
        kept = sum(elements(shape, roles, sizes) for shape, roles in own)
        parameters += kept - sum(shape.numel() for shape, _ in own)
        if part.kind == "fixed":
            kept = fixed[part.name]
        if part.name in graph.layers:
            layers[part.name] = LayerCost(part.kind, sizes["out"], kept, part.macs(sizes))
    return Cost(parameters, sum(layer.macs for layer in layers.values()), layers)


def _parameters_of_fixed(graph: ChannelGraph) -> dict[str, int]:
    """By fixed part, its parameters that no other part has."""
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
    """Parameters that are not exactly zero."""
    return int(sum(torch.count_nonzero(p) for p in model.parameters()))
