"""APoZ, the average percentage of zeros of a neuron after its activation (Hu et al. 2016, arXiv 1607.03250, eq. 1):

    APoZ(O_c) = sum_k^N sum_j^M f(O_c,j(k) = 0) / (N * M)        f(true) = 1, f(false) = 0

with N examples and M positions of the neuron's output map. APoZ is 1 if the activation is always zero and 0 if it never
is; a high APoZ means redundant. Activations without true zeros (GELU, SiLU, LeakyReLU, ...) count as zero when they are
near zero, see `profile`.
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
from trimcore.compute.inputs import count, moved
from trimcore.compute.modes import in_mode
from trimcore.errors import DataError, NotTrimmable, SpecError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.tracing import trace
from trimcore.scoring.counting import Counter, Scales
from trimcore.scoring.taylor import Taylor
from trimcore.spec import DEFAULT_TOLERANCE


@dataclass(frozen=True)
class LayerProfile:
    """Counts of one layer.

    `zeros` and `totals` (N * M) are int64 (width,). The total of a neuron without an activation is 0, and its APoZ and
    mean activation are not a number. `candidates` are the neurons that may be removed. Neurons with the same number in
    `groups` (width,) can only be removed together and have the same counts. `mean_activation` and `taylor`, float64
    (width,), are present if requested. `tolerance` is 0 if all activations of the layer have true zeros, otherwise the
    tolerance of the profile. `limits` are the magnitudes up to which activations without true zeros counted as zero,
    one per activation.
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

    def tied_groups(self) -> dict[str, list[int]]:
        """{"groups": a number per neuron}, equal for neurons that can only be removed together. {} if none are tied."""
        if self.groups is None or len(numbers := torch.unique(self.groups)) == self.width:
            return {}
        return {"groups": torch.searchsorted(numbers, self.groups).tolist()}

    @property
    def apoz(self) -> Tensor:
        """APoZ of each neuron, 0..1, float64; not a number for a neuron without an activation. (width,)"""
        return self.zeros.double() / self.totals.double()


@dataclass(frozen=True)
class Profile:
    """The counts of all layers in depth order."""

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

    `loader` yields batches, or tuples that start with one; they are moved to the model's device. A batch that is itself
    a tuple is several positional inputs. `progress` is called
    with the number of examples seen so far.

    For ReLU and ReLU6, exact zeros are counted. Other activations only come near zero: x counts as zero if |x| <=
    `tolerance` * RMS, where RMS is the root mean square of all activations at that site over all examples. Neither the
    scale of the weights nor the batch size affects this. Measuring the RMS takes an additional pass before the counting
    (see `passes`), so the loader must support two iterations. With tolerance 0, only exact zeros are counted.

    A neuron whose channel passes through several activations (in a residual stream) is removed from all of them at
    once. Its APoZ is the fraction of zeros over all their positions: zeros and positions are summed, each activation
    with its own limit. Averaging several APoZs instead would give a small map the same weight as a large one.

    `mean_activation` also measures each neuron's mean activation. `taylor` also measures the criterion of
    `scoring.taylor`; this costs a training step per batch, and the loader must yield examples with class indices.

    Counts are exact integers, and memory is O(neurons). The device is synchronised once per pass, at its end. The
    model's mode, weights, gradients, buffers and hooks are unchanged afterwards. Raises DataError for a loader that is
    empty, cannot be iterated twice or lacks labels, SpecError for a tolerance outside 0..1, NotTrimmable for a network
    without trimmable layers, and TrimError if an activation is NaN.
    """
    counting = profiling(model, loader, tolerance, graph=graph, mean_activation=mean_activation, taylor=taylor)
    return finished(counting, progress)


def passes(graph: ChannelGraph, tolerance: float) -> int:
    """The number of passes that `profiling` makes over the examples: 2 if it must first measure what is near zero."""
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
    """`profile` as a generator. After each batch it yields the number of examples seen so far, over all `passes`.

    Returns the profile. Between two batches the model is in its original mode, so the caller may use it.
    """
    if not 0 <= tolerance <= 1:
        raise SpecError(f"tolerance = {tolerance}; expected a fraction of the root mean square, from 0 to 1")
    start, device, measured = time.perf_counter(), _device(model), 0
    batches = iter(loader)
    once, first = batches is loader, next(batches, None)
    if first is None:
        raise DataError("there are no examples to profile: the loader is empty")
    with in_mode(model, training=False), torch.inference_mode():
        graph = graph or trace(model, moved(_input(first), device))
    if not graph.trimmable() and not graph.units:
        raise NotTrimmable(graph.untrimmable_reason())
    if taylor:
        _labels(first)
    batches, limits = chain([first], batches), [0.0] * len(graph.sites)
    del first
    if passes(graph, tolerance) == 2:
        if once:
            raise DataError(
                "the loader can be iterated only once, but counting near zeros takes two passes; pass a list of batches"
            )
        scales = Scales(graph, device)
        measured = yield from _run_pass(model, scales.network, batches, device)
        limits, batches = scales.limits(tolerance), iter(loader)
    counter = Counter(graph, device, limits, mean_activation)
    criterion = Taylor(graph, device) if taylor else None
    examples = yield from _run_pass(model, counter.add_batch, batches, device, criterion, measured)
    if measured not in (0, examples):
        raise DataError(f"the loader yielded {measured} examples in the first pass but {examples} in the second")
    (examples,) = distributed.totals([examples])
    return Profile(examples, _layers(graph, counter, criterion, tolerance), time.perf_counter() - start)


def _run_pass(
    model: nn.Module, network: Callable[[Any], object], batches: Iterable[Any], device: torch.device,
    criterion: Taylor | None = None, before: int = 0,
) -> Generator[int, None, int]:  # fmt: skip
    """Run one pass. Yields the number of examples so far plus `before`, and returns the number of examples."""
    examples = 0
    for batch in batches:
        x = moved(_input(batch), device)
        with in_mode(model, training=False), torch.inference_mode():
            network(x)
        if criterion:
            criterion.add_batch(x, _labels(batch).to(device, non_blocking=True))
        examples += count(x)
        yield before + examples
    return examples


def _layers(
    graph: ChannelGraph, counter: Counter, criterion: Taylor | None, tolerance: float
) -> dict[str, LayerProfile]:
    zeros, totals, means = counter.by_group()
    taylor, found = criterion.result() if criterion else None, {}
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


def _input(batch: Any) -> Any:
    return batch[0] if isinstance(batch, tuple | list) else batch


def _labels(batch: object) -> Tensor:
    if isinstance(batch, tuple | list) and len(batch) > 1 and isinstance(batch[1], Tensor):
        return batch[1]
    raise DataError("criterion 'taylor' needs labels: the loader must yield (examples, class indices)")


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
