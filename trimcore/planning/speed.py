"""Meet a limit in milliseconds. The search predicts; at the end, single layers and the cut network are measured."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trimcore.graph.channel_graph import ChannelGraph
from trimcore.planning.ranking import Removal
from trimcore.timing.prediction import TimeModel

MULTIPLES = (32, 16, 8, 4)  # widths that are tried; whether the device likes one is measured
FREE = 1.002  # neurons are kept if the network takes at most this many times as long with them
ATTEMPTS = 5  # to meet the limit on the clock
LARGEST_STEP = 0.85  # by which the limit of the search falls after an attempt, because measurements are noisy
MARGIN = 0.995  # of the limit, so that a second measurement agrees


def fastest(
    graph: ChannelGraph, order: Sequence[Removal], count: int, limit_ms: float, time: TimeModel,
    fits: Callable[[list[Removal]], bool],
) -> list[Removal]:  # fmt: skip
    """The first removals of `order`, at least `count`, with which the cut network takes at most `limit_ms` when it is
    measured; without those that save no time. If all of them do not suffice, all.

    `fits` says whether removals still meet the other targets.
    """
    limit, steps = limit_ms * MARGIN, list(order)
    for _ in range(ATTEMPTS):
        needed = _needed(graph, order, count, limit, time)
        steps = _without_free(graph, list(order[:needed]), limit, time, fits)
        measured = time.measure(_mask(graph, steps))
        if measured <= limit_ms or needed >= len(order):
            break
        limit *= max(LARGEST_STEP, MARGIN * limit_ms / measured)
    time.tables.save()
    return steps


def _needed(graph: ChannelGraph, order: Sequence[Removal], least: int, limit: float, time: TimeModel) -> int:
    """The fewest removals whose predicted time is within the limit, each layer being measured at its own width. Time is
    nearly, but not strictly, falling, so the search starts near the interpolated solution."""

    def too_slow(count: int, exact: bool) -> bool:
        return time.without(_mask(graph, order[:count]), exact) > limit

    low, high = least, len(order)
    while low < high:  # by interpolation
        middle = (low + high) // 2
        low, high = (middle + 1, high) if too_slow(middle, exact=False) else (low, middle)
    step = max(1, len(order) // 50)
    while high < len(order) and too_slow(high, exact=True):
        low, high, step = high + 1, min(len(order), high + step), 2 * step
    low = min(low, high)
    if low == high:  # the estimate suffices; fewer may, too
        low = max(least, high - step)
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
            if then <= min(FREE * now, max(limit, now)) and fits(fewer):
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
