"""Turn a target such as "half the parameters" or "at least 98 %" into a plan for every layer, which the user can edit.

All targets of a kind use one order of removals, so a more ambitious target removes everything that a milder one does.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trimcore.errors import SpecError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import cost_without
from trimcore.planning.harm import harms_of, predicted
from trimcore.planning.plan import Plan
from trimcore.planning.ranking import (
    Counted,
    Ranked,
    Removal,
    as_plan,
    cost_left,
    ranked,
    removal_order,
    removals_needed,
)
from trimcore.planning.sensitivity import Sensitivity
from trimcore.planning.speed import fastest
from trimcore.scoring.apoz import Profile
from trimcore.timing.prediction import TimeModel


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
class Faster:
    """Reduce the milliseconds per batch of the current network by a factor of `times`, as measured on this device."""

    times: float


@dataclass(frozen=True)
class Within:
    """Reduce the milliseconds per batch to at most `ms`, as measured on this device."""

    ms: float


@dataclass(frozen=True)
class NoLayerAbove:
    """Remove all neurons with an APoZ above `apoz`, except the last ones of a layer: rule `absolute` for all layers."""

    apoz: float


@dataclass(frozen=True)
class Accuracy:
    """Remove as much as possible while the `predicted` accuracy before retraining is at least `at_least`. For another
    metric, while it is not worse than `at_least`."""

    at_least: float


NAMES = {"parameters": "parameters", "macs": "MACs"}
CostTarget = Smaller | LessWork | Faster | Within
Target = CostTarget | NoLayerAbove | Accuracy


def propose(
    graph: ChannelGraph, profile: Profile, target: Target | Sequence[Target], layers: Iterable[str] | None = None,
    scores: Mapping[str, Tensor] | None = None, sensitivity: Sensitivity | None = None, *, least: int = 1,
    cost_aware: bool = False, time: TimeModel | None = None, by_clock: bool = True,
) -> Plan:  # fmt: skip
    """A plan that removes neurons from all `layers` in one order: as few as the target needs, or as many as it allows.
    Of several targets, all are met.

    Within a layer, the neurons with the highest scores are removed first (`scores` as in `planning.plan`; None: APoZ).
    Across layers, neurons are compared by harm. Without a `sensitivity`, a neuron's harm is the share of a normal
    distribution above its z-score in its layer. Removing everything up to some harm is then the paper's rule
    mean + x * std, with one x for all layers. With a `sensitivity`, harm is the accuracy that the layer alone has lost
    once this neuron is removed too. All layers then lose the same accuracy, so layers with flat curves lose more
    neurons; for equal losses, layers lose equal shares. `cost_aware` divides harm by what one neuron of the layer
    saves: parameters, or what the target is about (MACs, milliseconds). With a `sensitivity`, it makes the sum of the
    measured losses small for what is saved (see `harm.harms_of`). `NoLayerAbove` only uses APoZ.

    Neurons that can only be removed together, including those of a maxout unit, are one step. A layer is done once its
    next removal would leave any layer of the network with fewer than `least` neurons. Counted costs are exact: without
    the last step, the plan would miss the target. Targets in milliseconds need `time`, and the cut network is measured:
    see `planning.speed`. Such plans keep neurons that cost no time. Without `by_clock`, predictions suffice. The
    threshold of a layer in the plan is the highest remaining score among the neurons that may be removed.

    Raises SpecError for a target that cannot be met (the message names the maximum), for `Accuracy` without a
    sensitivity, for a sensitivity that lacks a layer or was measured at another width, for `NoLayerAbove` with
    scores other than APoZ or with another target, and for two targets of a kind.
    """
    asked = (target,) if isinstance(target, Target) else tuple(target)
    _check(asked, scores, sensitivity, least, time)
    names = profile.layers if layers is None else layers
    rankings = {name: _ranked(graph, profile, name, scores) for name in names}
    if isinstance(asked[0], NoLayerAbove):
        harms = {name: [-score for score in own.scores] for name, own in rankings.items()}
        order = removal_order(graph, rankings, harms, least)
        return as_plan(rankings, order[: bisect_left(order, -asked[0].apoz, key=lambda step: step.harm)])
    costs = [one for one in asked if isinstance(one, CostTarget)]
    saved = _saved(graph, costs, time) if cost_aware else None
    order = removal_order(graph, rankings, harms_of(graph, profile, rankings, sensitivity, saved), least)
    clocked = [one for one in costs if by_clock and isinstance(one, Faster | Within)]
    others = [one for one in costs if one not in clocked]
    steps = order[: max((_needed(graph, order, one, least, time) for one in others), default=0)]
    if clocked:
        assert time is not None  # checked by `_check`
        limit = min(time.base_ms / _times(one, time) for one in clocked)
        steps = fastest(graph, order, len(steps), limit, time, lambda fewer: _meets(graph, fewer, others))
    for one in asked:
        if isinstance(one, Accuracy):
            assert sensitivity is not None  # checked by `_check`
            allowed = _allowed(profile, rankings, order, one.at_least, sensitivity)
            if costs and len(steps) > allowed:
                raise _together(profile, rankings, steps, one, sensitivity)
            steps = steps if costs else order[:allowed]
    return as_plan(rankings, steps)


def as_step(plan: Plan, profile: Profile, criterion: str = "apoz") -> dict[str, Any]:
    """The plan as a `[[step]]` table of a spec, with the number of neurons that each layer keeps. The step chooses the
    same neurons if `criterion` matches the plan's scores. Raises SpecError for a plan that removes nothing."""
    kept = {name: profile[name].width - len(neurons) for name, neurons in plan.items() if neurons}
    if not kept:
        raise SpecError("the plan removes nothing: the network meets the target as it is")
    rules = {name: {"rule": "keep", "value": value} for name, value in kept.items()}
    return {"layers": [*kept], "rule": "keep", "value": max(kept.values()), "criterion": criterion, "layer": rules}


def _ranked(graph: ChannelGraph, profile: Profile, name: str, scores: Mapping[str, Tensor] | None) -> Ranked:
    """Rank the neurons of a layer. Raises SpecError for a layer that was not profiled."""
    if name not in profile.layers:
        raise SpecError(f"unknown or untrimmable layer {name!r}; trimmable are {', '.join(profile.layers)}")
    own = torch.as_tensor(profile[name].apoz if scores is None else scores[name])
    return ranked(graph.layers[name].neurons, own, profile[name].candidates)


def _counted(target: CostTarget, time: TimeModel | None) -> Counted:
    """What a target is about."""
    if isinstance(target, Smaller | LessWork):
        return target.counted
    assert time is not None  # checked by `_check`
    return time.without


def _times(target: CostTarget, time: TimeModel | None) -> float:
    if isinstance(target, Within):
        assert time is not None  # checked by `_check`
        return time.base_ms / target.ms
    return target.times


def _saved(graph: ChannelGraph, targets: Sequence[CostTarget], time: TimeModel | None) -> Counted:
    """The cost whose savings count: parameters, or that of the target. Of several targets, their shares are added."""
    costs = [_counted(target, time) for target in targets]
    if len(costs) < 2:
        return costs[0] if costs else "parameters"
    whole = [cost_left(graph, [], cost) for cost in costs]

    def shares(mask: Tensor) -> float:
        left = [cost(mask) if callable(cost) else getattr(cost_without(graph, mask), cost) for cost in costs]
        return sum(one / all_of_it for one, all_of_it in zip(left, whole, strict=True))

    return shares


def _needed(graph: ChannelGraph, order: list[Removal], target: CostTarget, least: int, time: TimeModel | None) -> int:
    """The fewest steps that meet a cost target. Raises SpecError if all steps together do not."""
    times, counted = _times(target, time), _counted(target, time)
    found = removals_needed(graph, order, counted, times)
    if found > len(order):
        left = cost_left(graph, [step.group for step in order], counted)
        most = math.floor(1000 * cost_left(graph, [], counted) / left) / 1000
        limit = f"with at least {least} neuron{'s' if least != 1 else ''} per layer, the maximum is {most:g} times"
        what = f"{times:g} times {'fewer ' + NAMES[counted] if isinstance(counted, str) else 'faster'}"
        what = f"at most {target.ms:g} ms" if isinstance(target, Within) else what
        if not isinstance(counted, str):
            raise SpecError(f"{what} is not predicted to be possible: {limit} ({left:.3g} ms)")
        raise SpecError(f"{what} is impossible: {limit}")
    return found


def _meets(graph: ChannelGraph, steps: Sequence[Removal], targets: Iterable[CostTarget]) -> bool:
    """Whether removals still meet targets that are counted."""
    groups = [step.group for step in steps]
    costs = ((_counted(one, None), _times(one, None)) for one in targets)
    return all(cost_left(graph, groups, cost) * times <= cost_left(graph, [], cost) for cost, times in costs)


def _together(
    profile: Profile, names: Iterable[str], steps: Sequence[Removal], target: Accuracy, sensitivity: Sensitivity
) -> SpecError:
    value = _predicted_after(profile, names, steps, sensitivity)
    return SpecError(f"the targets cannot be met together: {sensitivity.metric.name} before retraining would be "
                     f"{value:.4g}, not {target.at_least:g}")  # fmt: skip


def _predicted_after(
    profile: Profile, names: Iterable[str], steps: Sequence[Removal], sensitivity: Sensitivity
) -> float:  # fmt: skip
    gone: Counter[str] = Counter()
    for step in steps:
        gone.update({name: len(neurons) for name, neurons in step.neurons.items()})
    return predicted(sensitivity, {name: profile[name].width - gone[name] for name in names})


def _allowed(
    profile: Profile, names: Iterable[str], order: list[Removal], at_least: float, sensitivity: Sensitivity
) -> int:
    """The most steps that keep the prediction no worse than `at_least`. Raises SpecError if no steps do."""
    metric = sensitivity.metric
    if metric.is_better(at_least, sensitivity.base):
        raise SpecError(f"{metric.name} {at_least:g} is impossible: the whole network has {sensitivity.base:g}")

    def too_low(steps: int) -> bool:
        return metric.loss(at_least, _predicted_after(profile, names, order[:steps], sensitivity)) > 1e-12

    return bisect_left(range(1, len(order) + 1), True, key=too_low)


def _check(
    targets: Sequence[Target], scores: Mapping[str, Tensor] | None, sensitivity: Sensitivity | None, least: int,
    time: TimeModel | None,
) -> None:  # fmt: skip
    if least < 1:
        raise SpecError(f"least = {least}: it must be at least 1, since each layer keeps a neuron")
    check_targets(targets, sensitivity)
    for target in targets:
        if isinstance(target, Faster | Within) and time is None:
            raise SpecError("a target in milliseconds needs a time model: measure the network first")
        if isinstance(target, Accuracy) and sensitivity is None:
            raise SpecError("an accuracy target needs a sensitivity: scan the layers first")
        if isinstance(target, NoLayerAbove) and scores is not None:
            raise SpecError("the target NoLayerAbove only works with APoZ; choose another target for other scores")


def check_targets(targets: Sequence[Target], sensitivity: Sensitivity | None = None) -> None:
    """Raise SpecError for targets that no network can meet together, before anything is measured."""
    if not targets:
        raise SpecError("give at least one target")
    kinds = [type(target) for target in targets]
    if len(set(kinds)) < len(kinds):
        raise SpecError("give each kind of target once")
    if NoLayerAbove in kinds and len(targets) > 1:
        raise SpecError("the target NoLayerAbove cannot be combined with others")
    for target in targets:
        _check_value(target, sensitivity)


def _check_value(target: Target, sensitivity: Sensitivity | None) -> None:
    ((name, value),) = vars(target).items()
    low, high, valid = 0.0, 1.0, "a share from 0 to 1"
    if name == "times":
        low, high, valid = 1.0, 1e9, "at least 1"
    elif name == "ms":
        low, high, valid = 1e-9, 1e9, "above 0"
    elif name == "at_least" and sensitivity and not sensitivity.metric.percent:
        low, high = -math.inf, math.inf
    if not low <= value <= high:
        raise SpecError(f"{type(target).__name__} {name} = {value}: it must be {valid}")
