"""What a network costs: parameters, and multiply-accumulates of one example.

Convention: one multiply-accumulate counts as one; convolution and linear layers are counted, their biases,
normalisation and pooling are not. LeNet-5 has 2,293,000. (PyTorch's own counter reports twice that, in FLOPs.)
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trimcore.graph import ChannelGraph
from trimcore.surgery import Cut, kept_positions, removed_groups
from trimcore.tracing import trace


@dataclass(frozen=True)
class LayerCost:
    kind: str
    width: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """`layers` are the convolution and linear layers in depth order; `parameters` is of the whole network."""

    parameters: int
    macs: int
    layers: dict[str, LayerCost]

    @property
    def widths(self) -> dict[str, int]:
        return {name: layer.width for name, layer in self.layers.items()}


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
    """The cost when the channel groups of the mask `gone` are away. (group_count,)"""
    parameters = sum(p.numel() for p in graph.model.parameters())
    layers: dict[str, LayerCost] = {}
    for part in graph.parts.values():
        outputs, inputs = kept_positions(part, gone)
        before = sum(p.numel() for p in part.module.parameters(recurse=False))
        after = sum(
            _numel(p.shape, len(outputs), inputs if name == "weight" else None)
            for name, p in part.module.named_parameters(recurse=False)
        )
        parameters += after - before
        if part.kind != "norm":
            macs = part.macs(None if inputs is None else len(inputs), len(outputs))
            layers[part.name] = LayerCost(part.kind, len(outputs), after, macs)
    return Cost(parameters, sum(layer.macs for layer in layers.values()), layers)


def _numel(shape: torch.Size, outputs: int, inputs: Tensor | None) -> int:
    return outputs * (shape[1:].numel() if inputs is None else len(inputs) * shape[2:].numel())


def nonzero_parameters(model: nn.Module) -> int:
    """Parameters that are not exactly zero."""
    return int(sum(torch.count_nonzero(p) for p in model.parameters()))
