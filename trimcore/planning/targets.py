"""What a person asks for ("half the parameters", "at least 98 %") as a plan: what goes in each layer, open to change.

Targets of a kind go along one order in which neurons would leave: a larger one takes what a smaller one does, and more.
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
from trimcore.planning.ranking import Ranked, Removal, cost_left, in_order, needed, per_saved, planned, ranked
from trimcore.planning.sensitivity import Sensitivity
from trimcore.scoring.apoz import Profile


@dataclass(frozen=True)
class Smaller:
    """So many times fewer parameters than the network has now."""

    times: float
    counted = "parameters"


@dataclass(frozen=True)
class LessWork:
    """So many times fewer multiply-accumulates than the network has now."""

    times: float
    counted = "macs"


@dataclass(frozen=True)
class NoLayerAbove:
    """No layer keeps a neuron whose APoZ is above this, but for its last ones: the rule `absolute` for all layers."""

    apoz: float


@dataclass(frozen=True)
class Accuracy:
    """As much as can go while the accuracy before retraining, as `predicted`, is at least this."""

    at_least: float


Target = Smaller | LessWork | NoLayerAbove | Accuracy


def propose(
    graph: ChannelGraph, profile: Profile, target: Target, layers: Iterable[str] | None = None,
    scores: Mapping[str, Tensor] | None = None, sensitivity: Sensitivity | None = None, *, least: int = 1,
    cost_aware: bool = False,
) -> Plan:  # fmt: skip
    """The plan that removes neurons of all `layers` in one order: as few as a target needs, or as an accuracy allows.

    The neurons of a layer go by their scores, the highest first (`scores` as in `planning.plan`; None: APoZ). Layers
    are compared by harm. Without a `sensitivity` a neuron's harm is the share of a normal distribution above its
    z-score in its layer: taking all up to some harm is the paper's mean + x * std, with one x for all layers. With one
    it is the accuracy that its layer alone has lost when the neuron is gone too, so that all layers bear the same loss
    and flat ones give more; where the loss is the same, they give the same share. `cost_aware` divides harm by the
    parameters (for `LessWork`: MACs) that one neuron of the layer saves. `NoLayerAbove` looks at APoZ alone.

    Neurons that only go together, and those of a maxout unit, are one step. No layer of the network falls below `least`
    neurons: the one whose turn it is ends there. Costs are exact: without the last step the target would be missed. The
    threshold of a layer in the plan is the highest score that stays, of neurons that may go.

    Raises SpecError for a target that cannot be met, naming the most that can be had, for `Accuracy` without a
    sensitivity, for one that lacks a layer or has another width, and for `NoLayerAbove` with other scores than APoZ.
    """
    _check(target, scores, sensitivity, least)
    names = profile.layers if layers is None else layers
    leaving = {name: _ranked(graph, profile, name, scores) for name in names}
    if isinstance(target, NoLayerAbove):
        harms = {name: [-score for score in own.scores] for name, own in leaving.items()}
        order = in_order(graph, leaving, harms, least)
        return planned(leaving, order[: bisect_left(order, -target.apoz, key=lambda step: step.harm)])
    per = getattr(target, "counted", "parameters") if cost_aware else ""
    order = in_order(graph, leaving, _harms(graph, profile, leaving, sensitivity, per), least)
    if isinstance(target, Accuracy):
        assert sensitivity is not None  # or `_check` had refused the target
        return planned(leaving, order[: _allowed(profile, leaving, order, target.at_least, sensitivity)])
    return planned(leaving, order[: _needed(graph, order, target, least)])


def as_step(plan: Plan, profile: Profile, criterion: str = "apoz") -> dict[str, Any]:
    """The plan as a `[[step]]` table of a spec: how many neurons each layer keeps. `criterion` must be that of its
    scores, and the step then chooses the same neurons. Raises SpecError for a plan that removes nothing."""
    kept = {name: profile[name].width - len(neurons) for name, neurons in plan.items() if neurons}
    if not kept:
        raise SpecError("the plan removes nothing, so there is no step to make of it")
    rules = {name: {"rule": "keep", "value": value} for name, value in kept.items()}
    return {"layers": [*kept], "rule": "keep", "value": max(kept.values()), "criterion": criterion, "layer": rules}


def predicted(sensitivity: Sensitivity, kept: Mapping[str, int]) -> float:
    """The accuracy, before retraining, with so many neurons of each layer: the base less what each layer loses alone.

    Not the product of what stays: the sum takes no two layers to lose the same example, and so never says more. Damage
    can still be more than its parts; `sensitivity.one_shot` measures it. Curves are linear between two points, and from
    the last one to 0 at no neuron.
    """
    lost = sum(sensitivity.base - _at(_curve(sensitivity, name), count) for name, count in kept.items())
    return max(0.0, sensitivity.base - lost)


def _ranked(graph: ChannelGraph, profile: Profile, name: str, scores: Mapping[str, Tensor] | None) -> Ranked:
    """Raises SpecError for a layer that was not profiled."""
    if name not in profile.layers:
        raise SpecError(f"unknown or untrimmable layer {name!r}; there are {', '.join(profile.layers)}")
    own = torch.as_tensor(profile[name].apoz if scores is None else scores[name])
    return ranked(graph.layers[name].neurons, own, profile[name].candidates)


def _harms(
    graph: ChannelGraph, profile: Profile, layers: dict[str, Ranked], sensitivity: Sensitivity | None, per: str
) -> dict[str, list[float]]:  # fmt: skip
    """The harm of each step, by layer, as `propose` explains it; `per` "parameters" or "macs", or by itself."""
    harms = {name: layer.tails for name, layer in layers.items()}
    for name, layer in layers.items():
        if sensitivity:
            curve = _curve(sensitivity, name, profile[name].width)
            left = (profile[name].width - gone for gone in accumulate(layer.sizes))
            harms[name] = [sensitivity.base - _at(curve, kept) for kept in left]
        if per:
            harms[name] = per_saved(graph, layer, harms[name], per)
    return harms


def _curve(sensitivity: Sensitivity, name: str, width: int | None = None) -> list[tuple[int, float]]:
    """(neurons kept, accuracy) from the whole layer to none, the accuracy never rising on the way."""
    kept, accuracies = zip(*sensitivity.curve(name), strict=True)
    if width not in (None, kept[0]):
        raise SpecError(f"the sensitivity is of {kept[0]} neurons in layer {name!r}, which has {width}: scan again")
    return [*zip(kept, accumulate(accuracies, min), strict=True), (0, 0.0)]


def _at(curve: list[tuple[int, float]], kept: int) -> float:
    (more, high), (less, low) = next((a, b) for a, b in pairwise(curve) if b[0] <= kept)
    return low + (high - low) * (kept - less) / (more - less)


def _needed(graph: ChannelGraph, order: list[Removal], target: Smaller | LessWork, least: int) -> int:
    """The fewest steps that meet a target for the cost. Raises SpecError where all of them do not."""
    found = needed(graph, order, target.counted, target.times)
    if found > len(order):
        left = cost_left(graph, [step.group for step in order], target.counted)
        most = math.floor(1000 * cost_left(graph, [], target.counted) / left) / 1000
        wanted = f"{target.times:g} times fewer {target.counted}"
        raise SpecError(f"{wanted} cannot be had: with at least {least} in each layer it is {most:g} times at most")
    return found


def _allowed(
    profile: Profile, names: Iterable[str], order: list[Removal], at_least: float, sensitivity: Sensitivity
) -> int:
    """The most steps after which the predicted accuracy is at least this. Raises SpecError where none is too many."""
    if sensitivity.base < at_least:
        raise SpecError(f"accuracy {at_least:g} cannot be had: the whole network has {sensitivity.base:g}")

    def too_low(steps: int) -> bool:
        gone: Counter[str] = Counter()
        for step in order[:steps]:
            gone.update({name: len(neurons) for name, neurons in step.neurons.items()})
        return predicted(sensitivity, {name: profile[name].width - gone[name] for name in names}) < at_least - 1e-12

    return bisect_left(range(1, len(order) + 1), True, key=too_low)


def _check(target: Target, scores: Mapping[str, Tensor] | None, sensitivity: Sensitivity | None, least: int) -> None:
    if least < 1:
        raise SpecError(f"least = {least}: at least one neuron of each layer stays")
    ((name, value),) = vars(target).items()
    low, high, right = (1, 1e9, "a number of at least 1") if name == "times" else (0, 1, "a share, from 0 to 1")
    if not low <= value <= high:
        raise SpecError(f"{type(target).__name__} {name} = {value}: it is {right}")
    if isinstance(target, Accuracy) and sensitivity is None:
        raise SpecError("a target for accuracy needs a sensitivity: scan the layers first")
    if isinstance(target, NoLayerAbove) and scores is not None:
        raise SpecError("the target NoLayerAbove is for APoZ; with other scores choose another target")
