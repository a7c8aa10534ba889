"""Turn a target such as "half the parameters" or "at least 98 %" into a plan for every layer, which the user can edit.

All targets of a kind use one order of removals, so a more ambitious target removes everything that a milder one does.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from trimcore.errors import SpecError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.planning.plan import Plan
from trimcore.planning.ranking import (
    Ranked,
    Removal,
    as_plan,
    cost_left,
    harm_per_saving,
    ranked,
    removal_order,
    removals_needed,
)
from trimcore.planning.sensitivity import Sensitivity
from trimcore.scoring.apoz import Profile


@dataclass(frozen=True)
class Smaller:
    """Reduce the parameters of the current network by a factor of `times`."""

    times: float
    counted = "parameters"


@dataclass(frozen=True)
class LessWork:
    """Reduce the multiply-accumulates of the current network by a factor of `times`."""

    times: float
    counted = "macs"


@dataclass(frozen=True)
class NoLayerAbove:
    """Remove all neurons with an APoZ above `apoz`, except the last ones of a layer: rule `absolute` for all layers."""

    apoz: float


@dataclass(frozen=True)
class Accuracy:
    """Remove as much as possible while the `predicted` accuracy before retraining is at least `at_least`. For another
    metric, while it is not worse than `at_least`."""

    at_least: float


Target = Smaller | LessWork | NoLayerAbove | Accuracy


def propose(
    graph: ChannelGraph, profile: Profile, target: Target, layers: Iterable[str] | None = None,
    scores: Mapping[str, Tensor] | None = None, sensitivity: Sensitivity | None = None, *, least: int = 1,
    cost_aware: bool = False,
) -> Plan:  # fmt: skip
    """A plan that removes neurons from all `layers` in one order: as few as the target needs, or as many as it allows.

    Within a layer, the neurons with the highest scores are removed first (`scores` as in `planning.plan`; None: APoZ).
    Across layers, neurons are compared by harm. Without a `sensitivity`, a neuron's harm is the share of a normal
    distribution above its z-score in its layer. Removing everything up to some harm is then the paper's rule
    mean + x * std, with one x for all layers. With a `sensitivity`, harm is the accuracy that the layer alone has lost
    once this neuron is removed too. All layers then lose the same accuracy, so layers with flat curves lose more
    neurons; for equal losses, layers lose equal shares. `cost_aware` divides harm by the parameters (for `LessWork`:
    MACs) that one neuron of the layer saves. `NoLayerAbove` only uses APoZ.

    Neurons that can only be removed together, including those of a maxout unit, are one step. A layer is done once its
    next removal would leave any layer of the network with fewer than `least` neurons. Costs are exact: without the last
    step, the plan would miss the target. The threshold of a layer in the plan is the highest remaining score among the
    neurons that may be removed.

    Raises SpecError for a target that cannot be met (the message names the maximum), for `Accuracy` without a
    sensitivity, for a sensitivity that lacks a layer or was measured at another width, and for `NoLayerAbove` with
    scores other than APoZ.
    """
    _check(target, scores, sensitivity, least)
    names = profile.layers if layers is None else layers
    rankings = {name: _ranked(graph, profile, name, scores) for name in names}
    if isinstance(target, NoLayerAbove):
        harms = {name: [-score for score in own.scores] for name, own in rankings.items()}
        order = removal_order(graph, rankings, harms, least)
        return as_plan(rankings, order[: bisect_left(order, -target.apoz, key=lambda step: step.harm)])
    per = getattr(target, "counted", "parameters") if cost_aware else ""
    order = removal_order(graph, rankings, _harms(graph, profile, rankings, sensitivity, per), least)
    if isinstance(target, Accuracy):
        assert sensitivity is not None  # checked by `_check`
        return as_plan(rankings, order[: _allowed(profile, rankings, order, target.at_least, sensitivity)])
    return as_plan(rankings, order[: _needed(graph, order, target, least)])


def as_step(plan: Plan, profile: Profile, criterion: str = "apoz") -> dict[str, Any]:
    """The plan as a `[[step]]` table of a spec, with the number of neurons that each layer keeps. The step chooses the
    same neurons if `criterion` matches the plan's scores. Raises SpecError for a plan that removes nothing."""
    kept = {name: profile[name].width - len(neurons) for name, neurons in plan.items() if neurons}
    if not kept:
        raise SpecError("the plan removes nothing, so it cannot become a step")
    rules = {name: {"rule": "keep", "value": value} for name, value in kept.items()}
    return {"layers": [*kept], "rule": "keep", "value": max(kept.values()), "criterion": criterion, "layer": rules}


def predicted(sensitivity: Sensitivity, kept: Mapping[str, int]) -> float:
    """The predicted accuracy (or other metric) before retraining, if each layer keeps this many neurons: the base made
    worse by the loss of each layer alone.

    The losses are added, as if no two layers lost the same example, so the prediction is never above the product of the
    remaining shares. The real loss can still be larger; `masking.one_shot` measures it. Curves are linear between
    points, and from the last point down to a total loss at zero neurons: all of a share, and for other metrics the
    largest loss that was measured.
    """
    lost, metric = sum(_at(_curve(sensitivity, name), count) for name, count in kept.items()), sensitivity.metric
    value = sensitivity.base - lost if metric.higher_is_better else sensitivity.base + lost
    return max(0.0, value) if metric.percent else value


def _ranked(graph: ChannelGraph, profile: Profile, name: str, scores: Mapping[str, Tensor] | None) -> Ranked:
    """Rank the neurons of a layer. Raises SpecError for a layer that was not profiled."""
    if name not in profile.layers:
        raise SpecError(f"unknown or untrimmable layer {name!r}; trimmable are {', '.join(profile.layers)}")
    own = torch.as_tensor(profile[name].apoz if scores is None else scores[name])
    return ranked(graph.layers[name].neurons, own, profile[name].candidates)


def _harms(
    graph: ChannelGraph, profile: Profile, layers: dict[str, Ranked], sensitivity: Sensitivity | None, per: str
) -> dict[str, list[float]]:  # fmt: skip
    """The harm of each step, by layer, as defined in `propose`. `per` divides it by "parameters" or "macs" saved ("":
    not divided)."""
    harms = {name: layer.tails for name, layer in layers.items()}
    for name, layer in layers.items():
        if sensitivity:
            curve = _curve(sensitivity, name, profile[name].width)
            left = (profile[name].width - gone for gone in accumulate(layer.sizes))
            harms[name] = [_at(curve, kept) for kept in left]
        if per:
            harms[name] = harm_per_saving(graph, layer, harms[name], per)
    return harms


def _curve(sensitivity: Sensitivity, name: str, width: int | None = None) -> list[tuple[int, float]]:
    """(neurons kept, loss) from the whole layer down to zero neurons, with the loss made non-decreasing."""
    kept, values = zip(*sensitivity.curve(name), strict=True)
    metric, base = sensitivity.metric, sensitivity.base
    losses = [metric.loss(base, value) for value in values]
    total = base if metric.percent and metric.higher_is_better else _largest_loss(sensitivity)
    if width not in (None, kept[0]):
        raise SpecError(f"layer {name!r} has {width} neurons, but its sensitivity was measured at {kept[0]}: rescan it")
    return [*zip(kept, accumulate(losses, max), strict=True), (0, max(total, *losses))]


def _largest_loss(sensitivity: Sensitivity) -> float:
    return max(sensitivity.metric.loss(sensitivity.base, point.accuracy) for point in sensitivity.points)


def _at(curve: list[tuple[int, float]], kept: int) -> float:
    (more, with_more), (less, with_less) = next((a, b) for a, b in pairwise(curve) if b[0] <= kept)
    return with_less + (with_more - with_less) * (kept - less) / (more - less)


def _needed(graph: ChannelGraph, order: list[Removal], target: Smaller | LessWork, least: int) -> int:
    """The fewest steps that meet a cost target. Raises SpecError if all steps together do not."""
    found = removals_needed(graph, order, target.counted, target.times)
    if found > len(order):
        left = cost_left(graph, [step.group for step in order], target.counted)
        most = math.floor(1000 * cost_left(graph, [], target.counted) / left) / 1000
        limit = f"with at least {least} neuron{'s' if least != 1 else ''} per layer, the maximum is {most:g} times"
        raise SpecError(f"{target.times:g} times fewer {target.counted} is impossible: {limit}")
    return found


def _allowed(
    profile: Profile, names: Iterable[str], order: list[Removal], at_least: float, sensitivity: Sensitivity
) -> int:
    """The most steps that keep the prediction no worse than `at_least`. Raises SpecError if no steps do."""
    metric = sensitivity.metric
    if metric.is_better(at_least, sensitivity.base):
        raise SpecError(f"{metric.name} {at_least:g} is impossible: the whole network has {sensitivity.base:g}")

    def too_low(steps: int) -> bool:
        gone: Counter[str] = Counter()
        for step in order[:steps]:
            gone.update({name: len(neurons) for name, neurons in step.neurons.items()})
        value = predicted(sensitivity, {name: profile[name].width - gone[name] for name in names})
        return metric.loss(at_least, value) > 1e-12

    return bisect_left(range(1, len(order) + 1), True, key=too_low)


def _check(target: Target, scores: Mapping[str, Tensor] | None, sensitivity: Sensitivity | None, least: int) -> None:
    if least < 1:
        raise SpecError(f"least = {least}: it must be at least 1, since each layer keeps a neuron")
    ((name, value),) = vars(target).items()
    low, high, valid = (1.0, 1e9, "at least 1") if name == "times" else (0.0, 1.0, "a share from 0 to 1")
    if name == "at_least" and sensitivity and not sensitivity.metric.percent:
        low, high = -math.inf, math.inf
    if not low <= value <= high:
        raise SpecError(f"{type(target).__name__} {name} = {value}: it must be {valid}")
    if isinstance(target, Accuracy) and sensitivity is None:
        raise SpecError("an accuracy target needs a sensitivity: scan the layers first")
    if isinstance(target, NoLayerAbove) and scores is not None:
        raise SpecError("the target NoLayerAbove only works with APoZ; choose another target for other scores")
