"""Meet a limit in milliseconds. The search predicts; at the end, single layers and the cut network are measured."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trimcore.errors import SpecError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.planning.ranking import Removal
from trimcore.timing.prediction import TimeModel

MULTIPLES = (32, 16, 8, 4)  # widths that are tried; whether the device likes one is measured
FREE = 1.002  # neurons are kept if the network takes at most this many times as long with them
ATTEMPTS = 5  # networks that are timed
MARGIN = 0.995  # of the limit, so that a second measurement agrees
CLOSE = 0.95  # of the limit: a network that takes this long is not searched further


def fastest(
    graph: ChannelGraph, order: Sequence[Removal], least: int, limit_ms: float, time: TimeModel,
    fits: Callable[[list[Removal]], bool],
) -> list[Removal]:  # fmt: skip
    """The first removals of `order`, at least `least`, with which the cut network takes at most `limit_ms` when it is
    measured; without those that save no time.

    Each measurement corrects the prediction, upwards or downwards. `fits` says whether removals still meet the other
    targets. Raises SpecError if none of the networks that were timed is fast enough.
    """
    limit, slow, fast = limit_ms * MARGIN, least - 1, len(order)
    best: list[Removal] | None = None
    shortest = float("inf")
    for _ in range(ATTEMPTS):
        count = min(max(_needed(graph, order, least, limit, time), slow + 1), fast)
        steps = _without_free(graph, list(order[:count]), limit, time, fits)
        mask = _mask(graph, steps)
        measured, predicted = time.measure(mask), time.without(mask, exact=True)
        shortest = min(shortest, measured)
        if measured <= limit_ms:
            best, fast = steps, count
            if measured >= CLOSE * limit_ms or count <= slow + 1:
                break
        else:
            slow = count
            if count >= fast:
                break
        limit = MARGIN * limit_ms * predicted / measured
    time.tables.save()
    if best is None:
        times = f"{time.base_ms / shortest:.2f} times faster than the whole network"
        raise SpecError(
            f"{limit_ms:.3g} ms was not reached: the fastest network that was timed takes {shortest:.3g} ms, {times}"
        )
    return best


def _needed(graph: ChannelGraph, order: Sequence[Removal], least: int, limit: float, time: TimeModel) -> int:
    """The fewest removals whose predicted time is within the limit, each layer being measured at its own width. Time is
    nearly, but not strictly, falling, so the search starts near the interpolated solution. That one is the answer if no
    prediction is within the limit."""

    def too_slow(count: int, exact: bool) -> bool:
        return time.without(_mask(graph, order[:count]), exact) > limit

    low, high = least, len(order)
    while low < high:  # by interpolation
        middle = (low + high) // 2
        low, high = (middle + 1, high) if too_slow(middle, exact=False) else (low, middle)
    estimate, step = high, max(1, len(order) // 50)
    while high < len(order) and too_slow(high, exact=True):
        low, high, step = high + 1, min(len(order), high + step), 2 * step
    if high == len(order) and too_slow(high, exact=True):
        return estimate
    low = max(least, high - step) if low >= high else low  # the estimate suffices; fewer may, too
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if too_slow(middle, exact=True) else (low, middle)
    return high


def _without_free(
    graph: ChannelGraph, steps: list[Removal], limit: float, time: TimeModel, fits: Callable[[list[Removal]], bool]
) -> list[Removal]:  # fmt: skip
    """The removals without those that save no time: a layer gets back its last neurons, up to a rounder width, if the
    network is not slower with them. The layers whose last removal was the most harmful come first."""
    now = time.without(_mask(graph, steps), exact=True)
    for name in dict.fromkeys(name for step in reversed(steps) for name in step.neurons):
        for multiple in MULTIPLES:
            fewer = _widened(graph, steps, name, multiple)
            if len(fewer) == len(steps):
                continue
            then = time.without(_mask(graph, fewer), exact=True)
            if then <= min(FREE * now, limit) and fits(fewer):
                steps, now = fewer, then
                break
    return steps


def _widened(graph: ChannelGraph, steps: list[Removal], name: str, multiple: int) -> list[Removal]:
    """The removals without the last ones of a layer, so that its width is a multiple, or nearly."""
    own = [step for step in steps if name in step.neurons]
    missing = -(graph.layers[name].width - sum(len(step.neurons[name]) for step in own)) % multiple
    back = set()
    for step in reversed(own):
        missing -= len(step.neurons[name])
        if missing < 0:
            break
        back.add(step.group)
    return [step for step in steps if step.group not in back]


def _mask(graph: ChannelGraph, steps: Sequence[Removal]) -> Tensor:
    """Mask of the removed groups, over the groups of `graph.fine`."""
    mask = torch.zeros(graph.group_count, dtype=torch.bool)
    mask[[step.group for step in steps]] = True
    return graph.to_fine(mask)
