"""Local relevance (Rueda et al. 2017, arXiv 1707.06838): how often is a neuron the maximum of its maxout unit?

Counted over the training split, in evaluation mode. Where several neurons of a unit attain the maximum, they share it
equally: of k that are all zero after a ReLU each gets 1/k, so that a tie favours nobody, whatever the order in which
neurons are stored. Counts are integers all the same: a maximum counts as lcm(1, ..., k) shares, which any number of
neurons up to k divides, and a unit's counts add up to examples * positions * shares exactly.
"""

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.compute import distributed
from trimcore.compute.generators import finished
from trimcore.compute.modes import in_mode
from trimcore.errors import DataError, NotTrimmable, TrimError
from trimcore.graph.channel_graph import ChannelGraph, Units
from trimcore.graph.probes import watched
from trimcore.graph.tracing import trace
from trimcore.layers.maxout import in_units


@dataclass(frozen=True)
class UnitRelevance:
    """What the examples showed of a layer's maxout units. `counts` (units, k) int64, in 1/`shares` of a maximum;
    `positions` are those of the output map, 1 behind a linear layer."""

    layer: str
    counts: Tensor
    examples: int
    positions: int
    shares: int

    @classmethod
    def recorded(cls, layer: str, values: Mapping[str, Any]) -> "UnitRelevance":
        """From what a run has recorded of a layer: counts, examples, positions, shares."""
        return cls(layer, torch.tensor(values["counts"]), values["examples"], values["positions"], values["shares"])

    @property
    def k(self) -> int:
        return self.counts.shape[1]

    @property
    def relevance(self) -> Tensor:
        """How often each neuron is the maximum, 0..1, adding up to 1 in each unit. (units, k) float64"""
        return self.counts.double() / (self.examples * self.positions * self.shares)


def relevance(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    graph: ChannelGraph | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, UnitRelevance]:
    """The relevance of every neuron of every maxout unit, by layer, in one pass over `loader`, as `apoz.profile` takes.

    Mode and weights of the model are afterwards as they were. Raises NotTrimmable for a network without maxout units,
    DataError for a loader that is empty, TrimError when an activation is not a number.
    """
    return finished(measured(model, loader, graph=graph), progress)


def measured(
    model: nn.Module, loader: Iterable[Any], *, graph: ChannelGraph | None = None
) -> Generator[int, None, dict[str, UnitRelevance]]:
    """`relevance`, batch by batch: yields the number of examples seen so far, and returns the result."""
    device, examples, counter = next(p.device for p in model.parameters()), 0, None
    for batch in loader:
        x = (batch[0] if isinstance(batch, tuple | list) else batch).to(device, non_blocking=True)
        with in_mode(model, training=False), torch.inference_mode():
            counter = counter or MaximumCounter(graph or trace(model, x), device)
            counter.network(x)
        examples += len(x)
        yield examples
    if counter is None:
        raise DataError("no examples to measure relevance on: the loader is empty")
    return counter.result(examples)


class MaximumCounter:
    """Integer counts for each maxout unit while batches pass, on the device."""

    def __init__(self, graph: ChannelGraph, device: torch.device):
        if not graph.units:
            raise NotTrimmable(f"this {type(graph.model).__name__} has no maxout layer whose units can be pruned")
        self.units = graph.units
        widths = [graph.layers[name].width for name in graph.units]
        self.counts = [
            torch.zeros(width // units.k, units.k, dtype=torch.int64, device=device)
            for width, units in zip(widths, graph.units.values(), strict=True)
        ]
        self.damaged = [torch.zeros((), dtype=torch.bool, device=device) for _ in widths]
        self.positions = [0 for _ in widths]
        kinds = list(graph.units.values())
        self.network = watched(graph, lambda x, number: self._see(x, number, kinds[number]), places=[
            units.source for units in kinds
        ])  # fmt: skip

    def _see(self, x: Tensor, number: int, units: Units) -> None:
        counts, total = count_maxima(x, units.k, units.dim)
        self.counts[number] += counts
        self.damaged[number] |= x.isnan().any()
        self.positions[number] = total // len(x)

    def result(self, examples: int) -> dict[str, UnitRelevance]:
        distributed.sum_(*self.counts)
        (examples,) = distributed.totals([examples])
        for name, damaged in zip(self.units, self.damaged, strict=True):
            if damaged:
                raise TrimError(f"activations of layer {name!r} are not numbers (NaN); the network is damaged")
        return {
            name: UnitRelevance(name, counts.cpu(), examples, positions, shares_of(units.k))
            for (name, units), counts, positions in zip(
                self.units.items(), self.counts, self.positions, strict=True
            )
        }  # fmt: skip


def shares_of(k: int) -> int:
    """In how many shares the maximum of a unit of k neurons is counted: the least that 1, ..., k all divide.

    >>> shares_of(4)
    12
    """
    return math.lcm(*range(1, k + 1))


def count_maxima(x: Tensor, k: int, dim: int = 1) -> tuple[Tensor, int]:
    """How often each neuron is its unit's maximum, in shares, int64 (units, k); and of how many maxima, for each unit.

    x (N, units * k, ...) with the channels along `dim`. All neurons that attain the maximum share it equally.
    """
    dim %= x.dim()
    parts = in_units(x, k, dim)
    attained = parts == parts.amax(dim + 1, keepdim=True)
    shares = shares_of(k) // attained.sum(dim + 1, keepdim=True).clamp_(min=1)
    others = [d for d in range(parts.dim()) if d not in (dim, dim + 1)]
    return (attained * shares).sum(others), x.numel() // x.shape[dim]
