"""APoZ by class: count each neuron's zeros separately for each class, and derive its class selectivity.

A neuron that is mostly zero may still distinguish one class from the others. Its APoZ over all classes hides that.
Counts are exact integers. Summed over all classes, they equal those of `apoz.profile`.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.compute.generators import finished
from trimcore.compute.modes import in_mode
from trimcore.errors import DataError, NotTrimmable, SpecError, TrimError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.probes import with_probes
from trimcore.graph.tracing import trace
from trimcore.scoring.apoz import passes
from trimcore.scoring.counting import Scales
from trimcore.scoring.nonzero import EXACT_IN_FLOAT32, count_nonzero
from trimcore.spec import DEFAULT_TOLERANCE


@dataclass(frozen=True)
class ClassCounts:
    """Counts of one layer: `zeros` and `totals` (examples of the class * positions), int64 (classes, width)."""

    zeros: Tensor
    totals: Tensor

    @property
    def apoz(self) -> Tensor:
        """APoZ of each neuron for each class, 0..1, float64; NaN for a class without examples. (classes, width)"""
        return self.zeros.double() / self.totals


@dataclass(frozen=True)
class ClassProfile:
    """The counts of all layers in depth order. `examples` is the number of examples per class, int64 (classes,)."""

    examples: Tensor
    layers: dict[str, ClassCounts]

    def __getitem__(self, layer: str) -> ClassCounts:
        return self.layers[layer]


def profile_by_class(
    model: nn.Module, loader: Iterable[Any], classes: int, tolerance: float = DEFAULT_TOLERANCE, *,
    graph: ChannelGraph | None = None,
) -> ClassProfile:  # fmt: skip
    """Count the zeros after every activation separately for each class, in evaluation mode. See `counting_by_class`."""
    return finished(counting_by_class(model, loader, classes, tolerance, graph=graph))


def counting_by_class(
    model: nn.Module, loader: Iterable[Any], classes: int, tolerance: float = DEFAULT_TOLERANCE, *,
    graph: ChannelGraph | None = None,
) -> Generator[int, None, ClassProfile]:  # fmt: skip
    """`profile_by_class` as a generator. Yields the number of examples so far, over all `apoz.passes`.

    `loader` yields (examples, class indices). Zeros and the activations of a neuron are defined as in `apoz.profile`.
    Memory is O(classes * neurons). The model's mode and weights are unchanged afterwards. Raises DataError for a loader
    that is empty or yields class indices outside 0 to classes - 1, SpecError for a tolerance outside 0..1, NotTrimmable
    for a network without trimmable layers, and TrimError if an activation is NaN.
    """
    if not 0 <= tolerance <= 1:
        raise SpecError(f"tolerance = {tolerance}; expected a fraction of the root mean square, from 0 to 1")
    device, done, batches = _device(model), 0, iter(loader)
    once, first = batches is loader, next(batches, None)
    if first is None:
        raise DataError("there are no examples to profile: the loader is empty")
    graph = graph or trace(model, first[0].to(device))
    if not graph.trimmable() and not graph.units:
        raise NotTrimmable(graph.untrimmable_reason())
    batches, limits = chain([first], batches), [0.0] * len(graph.sites)
    if passes(graph, tolerance) == 2:
        if once:
            raise DataError(
                "the loader can be iterated only once, but counting near zeros takes two passes; pass a list of batches"
            )
        scales = Scales(graph, device)
        for x, _ in batches:
            with in_mode(model, training=False), torch.inference_mode():
                scales.network(x.to(device, non_blocking=True))
            done += len(x)
            yield done
        limits, batches = scales.limits(tolerance), iter(loader)
    counter = ClassCounter(graph, device, limits, classes)
    for x, labels in batches:
        with in_mode(model, training=False), torch.inference_mode():
            counter.add_batch(x.to(device, non_blocking=True), labels.to(device, non_blocking=True))
        done += len(x)
        yield done
    return counter.result()


class ClassCounter:
    """Accumulates integer counts per class and site, on the device.

    One matrix product (classes by examples) adds the counts of all examples to those of their classes. It is exact,
    because the counts of a batch stay below 2^53; on mps, which lacks float64, batches are split to stay below 2^24.
    """

    def __init__(self, graph: ChannelGraph, device: torch.device, limits: Sequence[float], classes: int):
        self.graph, self.limits, self.added = graph, limits, 0
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        self.indices = torch.arange(classes, device=device)
        self.examples = torch.zeros(classes, dtype=torch.int64, device=device)
        self.nonzero = [torch.zeros(classes, len(s.groups), dtype=torch.int64, device=device) for s in graph.sites]
        self.totals = [torch.zeros(classes, dtype=torch.int64, device=device) for _ in graph.sites]
        self.has_nan = [torch.zeros((), dtype=torch.bool, device=device) for _ in graph.sites]
        self.members = torch.zeros(classes, 0, dtype=torch.bool, device=device)  # (classes, N) one-hot labels
        self.network = with_probes(graph, self._count)

    def add_batch(self, x: Tensor, labels: Tensor) -> Tensor:
        """Add a batch `x` (N, ...) with class indices `labels` (N,). Returns the network's output."""
        if labels.shape != (len(x),) or labels.is_floating_point():
            found = f"{tuple(labels.shape)} {labels.dtype}"
            raise DataError(f"labels must be one class index per example, shape ({len(x)},), not {found}")
        self.members = self.indices.unsqueeze(1) == labels
        self.examples += self.members.sum(1)
        self.added += len(x)
        outputs: Tensor = self.network(x)
        return outputs

    def _count(self, x: Tensor, number: int) -> None:
        site = self.graph.sites[number]
        if len(x) != self.members.shape[1]:
            expected = self.members.shape[1]
            raise TrimError(
                f"counting by class needs the {expected} examples along axis 0 at {site.node}; its length is {len(x)}"
            )
        counts, positions = nonzero_by_example(x, site.axis, self.limits[number])
        self.has_nan[number] |= x.sum().isnan()
        size = max(1, (EXACT_IN_FLOAT32 - 1) // max(positions, 1)) if self.dtype == torch.float32 else len(x)
        chunks = zip(torch.split(self.members, size, 1), torch.split(counts.to(self.dtype), size), strict=True)
        for members, chunk in chunks:
            self.nonzero[number] += (members.to(self.dtype) @ chunk).long()
        self.totals[number] += self.members.sum(1) * positions

    def result(self) -> ClassProfile:
        """The profile. Raises DataError for class indices out of range, TrimError if an activation was NaN."""
        classes, groups = len(self.indices), self.graph.group_count
        if int(self.examples.sum()) != self.added:
            raise DataError(f"labels must be class indices from 0 to {classes - 1}; some are out of range")
        for site, has_nan in zip(self.graph.sites, self.has_nan, strict=True):
            if has_nan:
                raise TrimError(f"activations at {site.node} are NaN; the network or its input is damaged")
        zeros, totals = (torch.zeros(classes, groups, dtype=torch.int64) for _ in range(2))
        for site, nonzero, total in zip(self.graph.sites, self.nonzero, self.totals, strict=True):
            total = total.cpu().unsqueeze(1).expand(-1, len(site.groups))
            totals.index_add_(1, site.groups, total)
            zeros.index_add_(1, site.groups, total - nonzero.cpu())
        neurons = {name: self.graph.layers[name].neurons for name in self.graph.trimmable()}
        found = {name: ClassCounts(zeros[:, index], totals[:, index]) for name, index in neurons.items()}
        return ClassProfile(self.examples.cpu(), found)


def nonzero_by_example(x: Tensor, axis: int, limit: float = 0.0) -> tuple[Tensor, int]:
    """For each example and each index along `axis`, the number of elements whose magnitude exceeds `limit`, and the
    number of all elements. x (N, ...) -> (N, channels). Limit 0 counts nonzero elements, as in `count_nonzero`."""
    rows = x.movedim(axis, 1).flatten(0, 1)
    counts, positions = count_nonzero(rows.reshape(len(rows), -1), 0, limit)
    return counts.view(len(x), -1), positions


def selectivity(apoz_by_class: Tensor) -> Tensor:
    """How selective each neuron is for a single class, 0..1: (classes, width) -> (width,) float64.

    The index of Morcos, Barrett, Rabinowitz, Botvinick 2018 (arXiv 1803.06959, section 2): (a - b) / (a + b), with a
    the activity for the class where it is highest and b the mean over the other classes. Activity here means how often
    the neuron is active, 1 - APoZ. The index is 0 for a neuron that is equally active for all classes or never active,
    and 1 for a neuron that is active for a single class only. Classes without examples (NaN) are ignored; with fewer
    than two classes left, the index is 0.
    """
    active = (1 - apoz_by_class.double()).nan_to_num(0)
    others = (~apoz_by_class.isnan()).sum(0) - 1
    most = active.amax(0)
    rest = ((active.sum(0) - most) / others.clamp(min=1)).clamp(min=0)  # rounding may make it negative
    return torch.where((others > 0) & (most > 0), (most - rest).clamp(min=0) / (most + rest), 0.0)


def order(apoz_by_class: Tensor) -> Tensor:
    """The order of neurons in a heatmap: by the class for which they are most often active, then by descending
    selectivity. Neurons that are never active come last. (classes, width) -> int64 (width,)

    On a tie between classes, the first class counts. Equally selective neurons keep their order.
    """
    active = (1 - apoz_by_class.double()).nan_to_num(0)
    preferred = torch.where(active.amax(0) > 0, active.argmax(0), len(active))
    selective = selectivity(apoz_by_class).sort(descending=True, stable=True).indices
    return selective[preferred[selective].sort(stable=True).indices]


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
