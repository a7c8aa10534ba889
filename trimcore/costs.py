"""What a network costs: parameters, and multiply-accumulates of one example.

Convention: one multiply-accumulate counts as one; convolution and linear layers are counted, and the matrix products of
operations without a rule (attention); biases, normalisation and pooling are not. LeNet-5 has 2,293,000. (PyTorch's own
counter reports twice that, in FLOPs.)
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trimcore.graph import ChannelGraph, cut_shape
from trimcore.surgery import Cut, removed_groups
from trimcore.tracing import trace


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


def cost(model: nn.Module, example_input) -> Cost:
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
    parameters = sum(p.numel() for p in graph.model.parameters())
    layers: dict[str, LayerCost] = {}
    parts = graph.fine.parts.values()
    counted = {id(tensor) for part in parts for _, tensor, _ in part.tensors()}
    for part, sizes in zip(parts, graph.fine.sizes(gone).values(), strict=True):
        whole = kept = 0
        for _, tensor, roles in part.tensors():
            if isinstance(tensor, nn.Parameter):
                whole += tensor.numel()
                kept += cut_shape(tensor.shape, roles, sizes).numel()
        parameters += kept - whole
        if part.kind == "fixed":
            own = {id(p): p.numel() for p in part.module.parameters() if id(p) not in counted}
            kept = sum(own.values())
            counted |= own.keys()
        if part.name in graph.layers:
            layers[part.name] = LayerCost(part.kind, sizes["out"], kept, part.macs(sizes))
    return Cost(parameters, sum(layer.macs for layer in layers.values()), layers)


def nonzero_parameters(model: nn.Module) -> int:
    """Parameters that are not exactly zero."""
    return int(sum(torch.count_nonzero(p) for p in model.parameters()))
