"""Local relevance (Rueda et al. 2017, arXiv 1707.06838): how often a neuron is the maximum of its maxout unit.

Relevance is counted over the training split, in evaluation mode. Neurons that tie for the maximum share it equally. If
all k neurons of a unit are zero after a ReLU, each gets 1/k, so the result does not depend on the order of the neurons.
Counts are still integers: a maximum counts as lcm(1, ..., k) shares, which any number of neurons up to k divides. The
counts of a unit add up to exactly examples * positions * shares.
"""

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.compute import distributed
from trimcore.compute.generators import finished
from trimcore.compute.inputs import call, count, moved
from trimcore.compute.modes import in_mode
from trimcore.errors import DataError, NotTrimmable, TrimError
from trimcore.graph.channel_graph import ChannelGraph, Units
from trimcore.graph.probes import with_probes
from trimcore.graph.tracing import trace
from trimcore.layers.maxout import in_units


@dataclass(frozen=True)
class UnitRelevance:
    """Counts of the maxout units of a layer. `counts`, int64 (units, k), are in units of 1/`shares` of a maximum.
    `positions` is the number of positions of the output map, 1 after a linear layer."""

    layer: str
    counts: Tensor
    examples: int
    positions: int
    shares: int

    @classmethod
    def recorded(cls, layer: str, values: Mapping[str, Any]) -> "UnitRelevance":
        """Create it from the values that a run recorded for a layer: counts, examples, positions, shares."""
        return cls(layer, torch.tensor(values["counts"]), values["examples"], values["positions"], values["shares"])

    @property
    def k(self) -> int:
        return self.counts.shape[1]

    @property
    def relevance(self) -> Tensor:
        """How often each neuron is the maximum, 0..1. The values of a unit add up to 1. (units, k) float64"""
        return self.counts.double() / (self.examples * self.positions * self.shares)


def relevance(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    graph: ChannelGraph | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, UnitRelevance]:
    """The relevance of every neuron of every maxout unit, by layer, in one pass over a `loader` as in `apoz.profile`.

    The model's mode and weights are unchanged afterwards. Raises NotTrimmable for a network without maxout units,
    DataError for an empty loader, and TrimError if an activation is NaN.
    """
    return finished(measuring(model, loader, graph=graph), progress)


def measuring(
    model: nn.Module, loader: Iterable[Any], *, graph: ChannelGraph | None = None
) -> Generator[int, None, dict[str, UnitRelevance]]:
    """`relevance` as a generator. Yields the number of examples seen so far and returns the result."""
    device, examples, counter = next(p.device for p in model.parameters()), 0, None
    for batch in loader:
        x = moved(batch[0] if isinstance(batch, tuple | list) else batch, device)
        with in_mode(model, training=False), torch.inference_mode():
            counter = counter or MaximumCounter(graph or trace(model, x), device)
            call(counter.network, x)
        examples += count(x)
        yield examples
    if counter is None:
        raise DataError("there are no examples to measure relevance with: the loader is empty")
    return counter.result(examples)


class MaximumCounter:
    """Accumulates integer counts per maxout unit, on the device."""

    def __init__(self, graph: ChannelGraph, device: torch.device):
        if not graph.units:
            raise NotTrimmable(f"this {type(graph.model).__name__} has no maxout layer whose units can be pruned")
        self.units = graph.units
        widths = [graph.layers[name].width for name in graph.units]
        self.counts = [
            torch.zeros(width // units.k, units.k, dtype=torch.int64, device=device)
            for width, units in zip(widths, graph.units.values(), strict=True)
        ]
        self.has_nan = [torch.zeros((), dtype=torch.bool, device=device) for _ in widths]
        self.positions = [0 for _ in widths]
        layers = list(graph.units.values())
        self.network = with_probes(
            graph, lambda x, number: self._count(x, number, layers[number]), after=[units.source for units in layers]
        )

    def _count(self, x: Tensor, number: int, units: Units) -> None:
        counts, total = count_maxima(x, units.k, units.dim)
        self.counts[number] += counts
        self.has_nan[number] |= x.isnan().any()
        self.positions[number] = total // len(x)

    def result(self, examples: int) -> dict[str, UnitRelevance]:
        distributed.sum_(*self.counts)
        (examples,) = distributed.totals([examples])
        for name, has_nan in zip(self.units, self.has_nan, strict=True):
            if has_nan:
                raise TrimError(f"activations of layer {name!r} are NaN; the network or its input is damaged")
        return {
            name: UnitRelevance(name, counts.cpu(), examples, positions, shares_of(units.k))
            for (name, units), counts, positions in zip(
                self.units.items(), self.counts, self.positions, strict=True
            )
        }  # fmt: skip


def shares_of(k: int) -> int:
    """The number of shares in the maximum of a unit of k neurons: the least common multiple of 1, ..., k.

    >>> shares_of(4)
    12
    """
    return math.lcm(*range(1, k + 1))


def count_maxima(x: Tensor, k: int, dim: int = 1) -> tuple[Tensor, int]:
    """How often each neuron is the maximum of its unit, in shares, int64 (units, k), and the number of maxima per unit.

    x (N, units * k, ...) with the channels along `dim`. Neurons that tie for the maximum share it equally.
    """
    dim %= x.dim()
    parts = in_units(x, k, dim)
    attained = parts == parts.amax(dim + 1, keepdim=True)
    shares = shares_of(k) // attained.sum(dim + 1, keepdim=True).clamp_(min=1)
    others = [d for d in range(parts.dim()) if d not in (dim, dim + 1)]
    return (attained * shares).sum(others), x.numel() // x.shape[dim]
