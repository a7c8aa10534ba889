"""What happens to each class: the zeros of every neuron class by class, and which classes are taken for which.

A neuron that is mostly zero may still be what tells one class from the others: its APoZ over all classes hides that.
Counts are exact integers, and over all classes together they are those of `apoz.profile`.
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
from trimcore.graph.probes import watched
from trimcore.graph.tracing import trace
from trimcore.scoring.apoz import passes
from trimcore.scoring.counting import Scales
from trimcore.scoring.nonzero import EXACT_IN_FLOAT32, count_nonzero
from trimcore.spec import DEFAULT_TOLERANCE


@dataclass(frozen=True)
class ClassCounts:
    """Counts of one layer, `zeros` and `totals` (examples of the class * positions), int64 (classes, width)."""

    zeros: Tensor
    totals: Tensor

    @property
    def apoz(self) -> Tensor:
        """APoZ of each neuron in each class, 0..1, float64; not a number where nothing was seen. (classes, width)"""
        return self.zeros.double() / self.totals


@dataclass(frozen=True)
class ClassProfile:
    """What the examples showed, by layer in depth order. `examples` of each class, int64 (classes,)."""

    examples: Tensor
    layers: dict[str, ClassCounts]

    def __getitem__(self, layer: str) -> ClassCounts:
        return self.layers[layer]


def profile_by_class(
    model: nn.Module, loader: Iterable[Any], classes: int, tolerance: float = DEFAULT_TOLERANCE, *,
    graph: ChannelGraph | None = None,
) -> ClassProfile:  # fmt: skip
    """Count the zeros after every activation for each class by itself, in evaluation mode. See `counting_by_class`."""
    return finished(counting_by_class(model, loader, classes, tolerance, graph=graph))


def counting_by_class(
    model: nn.Module, loader: Iterable[Any], classes: int, tolerance: float = DEFAULT_TOLERANCE, *,
    graph: ChannelGraph | None = None,
) -> Generator[int, None, ClassProfile]:  # fmt: skip
    """`profile_by_class`, batch by batch: yields the number of examples so far, over all `apoz.passes`.

    `loader` yields (examples, class numbers). What counts as a zero, and which activations a
    neuron has, is as in `apoz.profile`. Memory is O(classes * neurons). Mode and weights of the model are left as they
    were. Raises DataError for a loader that is empty or whose class numbers are not 0 to classes - 1, SpecError for a
    tolerance outside 0..1, NotTrimmable for a network of which nothing can be trimmed, and TrimError when an activation
    is not a number.
    """
    if not 0 <= tolerance <= 1:
        raise SpecError(f"tolerance = {tolerance}: it is a share of the root mean square, from 0 to 1")
    device, done, batches = _device(model), 0, iter(loader)
    once, first = batches is loader, next(batches, None)
    if first is None:
        raise DataError("no examples to profile on: the loader is empty")
    graph = graph or trace(model, first[0].to(device))
    if not graph.trimmable() and not graph.units:
        raise NotTrimmable(graph.why_nothing())
    batches, limits = chain([first], batches), [0.0] * len(graph.sites)
    if passes(graph, tolerance) == 2:
        if once:
            raise DataError("near zeros take two passes, but the loader can be iterated only once; give a list")
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
            counter.see(x.to(device, non_blocking=True), labels.to(device, non_blocking=True))
        done += len(x)
        yield done
    return counter.result()


class ClassCounter:
    """Integer counts for each class and each site of a graph while batches pass, on the device.

    The counts of an example are added to those of its class by one matrix product, classes by examples, for all classes
    at once. It is exact: a batch counts fewer than 2^53 (on mps, without float64, it goes in parts below 2^24).
    """

    def __init__(self, graph: ChannelGraph, device: torch.device, limits: Sequence[float], classes: int):
        self.graph, self.limits, self.seen = graph, limits, 0
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        self.numbers = torch.arange(classes, device=device)
        self.examples = torch.zeros(classes, dtype=torch.int64, device=device)
        self.nonzero = [torch.zeros(classes, len(s.groups), dtype=torch.int64, device=device) for s in graph.sites]
        self.totals = [torch.zeros(classes, dtype=torch.int64, device=device) for _ in graph.sites]
        self.damaged = [torch.zeros((), dtype=torch.bool, device=device) for _ in graph.sites]
        self.members = torch.zeros(classes, 0, dtype=torch.bool, device=device)  # (classes, N): whose class is which?
        self.network = watched(graph, self._count)

    def see(self, x: Tensor, labels: Tensor) -> Tensor:
        """Add a batch, `x` (N, ...) with class numbers `labels` (N,); returns what the network gives."""
        if labels.shape != (len(x),) or labels.is_floating_point():
            has = f"{tuple(labels.shape)} {labels.dtype}"
            raise DataError(f"each of {len(x)} examples needs one class number, not labels {has}")
        self.members = self.numbers.unsqueeze(1) == labels
        self.examples += self.members.sum(1)
        self.seen += len(x)
        outputs: Tensor = self.network(x)
        return outputs

    def _count(self, x: Tensor, number: int) -> None:
        site = self.graph.sites[number]
        if len(x) != self.members.shape[1]:
            raise TrimError(f"counting by class needs the examples along axis 0 at {site.node}; it has {len(x)} there")
        counts, positions = nonzero_by_example(x, site.axis, self.limits[number])
        self.damaged[number] |= x.sum().isnan()
        size = max(1, (EXACT_IN_FLOAT32 - 1) // max(positions, 1)) if self.dtype == torch.float32 else len(x)
        pieces = zip(torch.split(self.members, size, 1), torch.split(counts.to(self.dtype), size), strict=True)
        for members, piece in pieces:
            self.nonzero[number] += (members.to(self.dtype) @ piece).long()
        self.totals[number] += self.members.sum(1) * positions

    def result(self) -> ClassProfile:
        """Raises DataError for class numbers out of range, TrimError where an activation was not a number."""
        classes, groups = len(self.numbers), self.graph.group_count
        if int(self.examples.sum()) != self.seen:
            raise DataError(f"labels must be class numbers from 0 to {classes - 1}; some examples have others")
        for site, damaged in zip(self.graph.sites, self.damaged, strict=True):
            if damaged:
                raise TrimError(
                    f"activations at {site.node} are not numbers (NaN); the network or its input is damaged"
                )
        zeros, totals = (torch.zeros(classes, groups, dtype=torch.int64) for _ in range(2))
        for site, nonzero, total in zip(self.graph.sites, self.nonzero, self.totals, strict=True):
            total = total.cpu().unsqueeze(1).expand(-1, len(site.groups))
            totals.index_add_(1, site.groups, total)
            zeros.index_add_(1, site.groups, total - nonzero.cpu())
        neurons = {name: self.graph.layers[name].neurons for name in self.graph.trimmable()}
        found = {name: ClassCounts(zeros[:, index], totals[:, index]) for name, index in neurons.items()}
        return ClassProfile(self.examples.cpu(), found)


def nonzero_by_example(x: Tensor, axis: int, limit: float = 0.0) -> tuple[Tensor, int]:
    """How many of each example's elements are beyond `limit` in magnitude, for each index along `axis`, and of how
    many. x (N, ...) gives (N, channels); as `counting.count_nonzero`, limit 0 counts what is not zero."""
    rows = x.movedim(axis, 1).flatten(0, 1)
    counts, positions = count_nonzero(rows.reshape(len(rows), -1), 0, limit)
    return counts.view(len(x), -1), positions


def selectivity(apoz_by_class: Tensor) -> Tensor:
    """How much of a neuron's activity belongs to one class, 0..1: (classes, width) -> (width,) float64.

    The index of Morcos, Barrett, Rabinowitz, Botvinick 2018 (arXiv 1803.06959, section 2): (a - b) / (a + b), with a
    the activity in the class where it is highest, and b the mean over the other classes. Activity is here how often the
    neuron fires, 1 - APoZ. 0: alike for all classes, or never; 1: for one class only. Classes of which nothing was seen
    (not a number) are left out; with fewer than two it is 0.
    """
    fires = (1 - apoz_by_class.double()).nan_to_num(0)
    others = (~apoz_by_class.isnan()).sum(0) - 1
    most = fires.amax(0)
    rest = ((fires.sum(0) - most) / others.clamp(min=1)).clamp(min=0)  # rounding may leave less than nothing
    return torch.where((others > 0) & (most > 0), (most - rest).clamp(min=0) / (most + rest), 0.0)


def order(apoz_by_class: Tensor) -> Tensor:
    """The neurons as a heatmap should show them: by the class for which they fire most often, and within it the most
    selective first; those that never fire come last. (classes, width) -> int64 (width,)

    Of equally preferred classes the first counts, of equally selective neurons the first comes first.
    """
    fires = (1 - apoz_by_class.double()).nan_to_num(0)
    preferred = torch.where(fires.amax(0) > 0, fires.argmax(0), len(fires))
    selective = selectivity(apoz_by_class).sort(descending=True, stable=True).indices
    return selective[preferred[selective].sort(stable=True).indices]


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
