"""APoZ, the average percentage of zeros of a neuron after its activation (Hu et al. 2016, arXiv 1607.03250, eq. 1):

    APoZ(O_c) = sum_k^N sum_j^M f(O_c,j(k) = 0) / (N * M)        f(true) = 1, f(false) = 0

with N examples and M positions of the neuron's output map. All zero gives 1, never zero gives 0; high means redundant.
Activations without true zeros (GELU, SiLU, LeakyReLU, ...) count as zero when they are near it, see `profile`.
"""

import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.compute import distributed
from trimcore.compute.generators import finished
from trimcore.compute.modes import in_mode
from trimcore.errors import DataError, NotTrimmable, SpecError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.tracing import trace
from trimcore.scoring.counting import Counter, Scales
from trimcore.scoring.taylor import Taylor
from trimcore.spec import DEFAULT_TOLERANCE


@dataclass(frozen=True)
class LayerProfile:
    """Counts of one layer. `zeros` and `totals` (N * M) are int64 (width,); neurons that no activation shows have
    totals 0. `candidates` are the neurons that may go; those with the same number in `groups` (width,) only go
    together, and so have one count. `mean_activation` and `taylor`, float64 (width,), are there when they were asked
    for. `tolerance` is 0 when all its activations have true zeros, else the tolerance of the profile; `limits` are then
    the magnitudes up to which an activation counted as zero, one for each of its other activations.
    """

    layer: str
    kind: str
    zeros: Tensor
    totals: Tensor
    candidates: tuple[int, ...]
    groups: Tensor | None = None
    mean_activation: Tensor | None = None
    taylor: Tensor | None = None
    tolerance: float = 0.0
    limits: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        return len(self.zeros)

    def going_together(self) -> dict[str, list[int]]:
        """{"groups": a number for each neuron}, the same for those that only go together; {} where each goes alone."""
        if self.groups is None or len(numbers := torch.unique(self.groups)) == self.width:
            return {}
        return {"groups": torch.searchsorted(numbers, self.groups).tolist()}

    @property
    def apoz(self) -> Tensor:
        """APoZ of each neuron, 0..1, float64. (width,)"""
        return self.zeros.double() / self.totals.clamp(min=1)


@dataclass(frozen=True)
class Profile:
    """What the examples showed, by layer in depth order."""

    examples: int
    layers: dict[str, LayerProfile]
    seconds: float = 0.0

    def __getitem__(self, layer: str) -> LayerProfile:
        return self.layers[layer]


def profile(
    model: nn.Module,
    loader: Iterable[Any],
    tolerance: float = DEFAULT_TOLERANCE,
    *,
    graph: ChannelGraph | None = None,
    mean_activation: bool = False,
    taylor: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Profile:
    """Count the zeros after every activation of `model`, for all trimmable layers in one evaluation pass.

    `loader` yields batches, or tuples that begin with one; they are moved to the model's device. `progress` is called
    with the number of examples seen so far.

    A ReLU or ReLU6 counts its exact zeros. Other activations only come near zero: x counts when |x| <= `tolerance` *
    RMS, the root mean square of all activations at that place over all examples, so that neither the scale of the
    weights nor the batch size matters. This takes a pass of its own before the counting (`passes`), and so a loader
    that can be iterated twice. Tolerance 0 counts exact zeros everywhere.

    A neuron whose channel passes several activations (in a residual stream) is removed from all of them at once. What
    is lost is what it feeds to all their positions, so its APoZ is the share of zeros among them all: zeros and
    positions are summed, each zero by the limit of its own activation. The mean of several APoZs would let a small map
    weigh as much as a large one.

    `mean_activation` measures the mean of each neuron, `taylor` the criterion of `trimcore.taylor` (a training step's
    work for each batch; the loader must yield examples with their class numbers).

    Counts are exact integers; memory is O(neurons); the device is waited for once a pass, at its end. Mode, weights,
    gradients, buffers and hooks of the model are afterwards as they were. Raises DataError for a loader that is empty,
    cannot be iterated twice or lacks labels, SpecError for a tolerance outside 0..1, NotTrimmable for a network of
    which nothing can be trimmed, and TrimError when an activation is not a number.
    """
    counting = profiling(model, loader, tolerance, graph=graph, mean_activation=mean_activation, taylor=taylor)
    return finished(counting, progress)


def passes(graph: ChannelGraph, tolerance: float) -> int:
    """How often `profiling` goes over the examples: twice when it has to find out what is near zero."""
    return 2 if tolerance and not all(site.exact for site in graph.sites) else 1


def profiling(
    model: nn.Module,
    loader: Iterable[Any],
    tolerance: float = DEFAULT_TOLERANCE,
    *,
    graph: ChannelGraph | None = None,
    mean_activation: bool = False,
    taylor: bool = False,
) -> Generator[int, None, Profile]:
    """`profile`, batch by batch: yields the number of examples seen so far, over all `passes`, and returns the profile.

    Between two batches the model is in its own mode, whatever the caller does with it then.
    """
    if not 0 <= tolerance <= 1:
        raise SpecError(f"tolerance = {tolerance}: it is a share of the root mean square, from 0 to 1")
    start, device, measured = time.perf_counter(), _device(model), 0
    batches = iter(loader)
    once, first = batches is loader, next(batches, None)
    if first is None:
        raise DataError("no examples to profile on: the loader is empty")
    with in_mode(model, training=False), torch.inference_mode():
        graph = graph or trace(model, _input(first).to(device))
    if not graph.trimmable() and not graph.units:
        raise NotTrimmable(graph.why_nothing())
    if taylor:
        _labels(first)
    batches, limits = chain([first], batches), [0.0] * len(graph.sites)
    del first
    if passes(graph, tolerance) == 2:
        if once:
            raise DataError(
                "the loader can be iterated only once, and near zeros take two passes; give a list of batches"
            )
        scales = Scales(graph, device)
        measured = yield from _carried_out(model, scales.network, batches, device)
        limits, batches = scales.limits(tolerance), iter(loader)
    counter = Counter(graph, device, limits, mean_activation)
    judge = Taylor(graph, device) if taylor else None
    examples = yield from _carried_out(model, counter.see, batches, device, judge, measured)
    if measured not in (0, examples):
        raise DataError(f"the loader gave {measured} examples at first and {examples} when it was iterated again")
    (examples,) = distributed.totals([examples])
    return Profile(examples, _layers(graph, counter, judge, tolerance), time.perf_counter() - start)


def _carried_out(
    model: nn.Module, network: Callable[[Tensor], object], batches: Iterable[Any], device: torch.device,
    judge: Taylor | None = None, before: int = 0,
) -> Generator[int, None, int]:  # fmt: skip
    """One pass. Yields the number of examples so far, and those of `before`; returns the number of examples."""
    examples = 0
    for batch in batches:
        x = _input(batch).to(device, non_blocking=True)
        with in_mode(model, training=False), torch.inference_mode():
            network(x)
        if judge:
            judge.see(x, _labels(batch).to(device, non_blocking=True))
        examples += len(x)
        yield before + examples
    return examples


def _layers(graph: ChannelGraph, counter: Counter, judge: Taylor | None, tolerance: float) -> dict[str, LayerProfile]:
    zeros, totals, means = counter.by_group()
    taylor, found = judge.result() if judge else None, {}
    for name in graph.trimmable():
        layer = graph.layers[name]
        index = layer.neurons
        limits = tuple(
            limit for site, limit in zip(graph.sites, counter.limits, strict=True)
            if not site.exact and torch.isin(site.groups, index).any()
        )  # fmt: skip
        found[name] = LayerProfile(
            name, layer.kind, zeros[index], totals[index], tuple(graph.candidates(name)), index,
            means[index] if counter.with_mean else None, None if taylor is None else taylor[index],
            tolerance if limits else 0.0, limits,
        )  # fmt: skip
    return found


def _input(batch: Any) -> Tensor:
    x: Tensor = batch[0] if isinstance(batch, tuple | list) else batch
    return x


def _labels(batch: object) -> Tensor:
    if isinstance(batch, tuple | list) and len(batch) > 1 and isinstance(batch[1], Tensor):
        return batch[1]
    raise DataError("the criterion taylor needs labels: the loader must yield (examples, class numbers)")


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
