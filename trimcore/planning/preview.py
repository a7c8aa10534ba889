"""What a plan would leave, before anything runs: the steps carried out on the graph, with the scores as they are now.

An estimate where the rule depends on APoZ, which retraining changes; exact for `fraction`, `count` and `keep`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trimcore.errors import SpecError
from trimcore.graph.channel_graph import WITHOUT_NEURONS, ChannelGraph, elements
from trimcore.graph.costs import Cost, cost_without
from trimcore.graph.removal import units_left
from trimcore.planning.choice import choose, choose_in_units
from trimcore.planning.minimum import sparing_the_last
from trimcore.planning.ranking import ranked, times_smaller
from trimcore.planning.rounding import rounded_up
from trimcore.planning.selection import layers_of
from trimcore.spec import Step
from trimcore.spec.rules import make_rule
from trimcore.surgery.magnitude import scheduled


@dataclass(frozen=True)
class Seen:
    """A layer's APoZ as a run recorded it: `original` are its neurons' indices in the base model."""

    apoz: Sequence[float]
    original: Sequence[int]


@dataclass(frozen=True)
class Stage:
    """The network after one iteration of the plan; `cut` counts the neurons that this iteration removes.

    `k` has the neurons of each maxout unit, by layer, 1 where there is no maximum any more. `zeros` counts the weights
    held at zero; None where they depend on the weights (rule `quality`).
    """

    step: int
    cut: dict[str, int]
    cost: Cost
    k: dict[str, int] = field(default_factory=dict)
    zeros: int | None = 0


def preview(graph: ChannelGraph, seen: Mapping[str, Seen], steps: Sequence[Step]) -> list[Stage]:
    """Stage 0 is the network as profiled; then one stage for each iteration that removes something.

    `graph` is of the base model, `seen` the profile of the network to begin from (which may have been cut already).
    Raises SpecError for a layer that was not profiled.
    """
    gone = torch.zeros(graph.group_count, dtype=torch.bool)  # of graph.fine
    scores = {}
    for name, layer in seen.items():
        there, scores[name] = (
            torch.tensor(list(layer.original)),
            torch.zeros(graph.layer(name).width, dtype=torch.float64),
        )
        scores[name][there] = torch.tensor(layer.apoz, dtype=torch.float64)
        away = torch.ones(len(scores[name]), dtype=torch.bool)
        away[there] = False
        _remove(graph, gone, name, away)
    stages = [Stage(-1, {}, cost_without(graph, gone), units_left(graph, gone))]
    zeros: int | None = 0
    for number, step in enumerate(steps):
        for round in range(1, step.iterations + 1):
            if step.weights:
                cut, zeros = {}, _zeros(graph, gone, step, round, zeros)
            else:
                cut = _iteration(graph, gone, scores, step)
                if not any(cut.values()):
                    break
            stages.append(Stage(number, cut, cost_without(graph, gone), units_left(graph, gone), zeros))
    return stages


def _remove(graph: ChannelGraph, gone: Tensor, name: str, neurons: Tensor | list[int]) -> None:
    """Marks neurons (a mask, or numbers) in `gone`: each with all that can only go with it, except that a maxout unit
    stays with the others of its neurons."""
    if name in graph.units:
        part = graph.fine.parts[graph.units[name].maxout]
        gone[graph.fine.layers[name].neurons[neurons]] = True
        gone[part.outputs[gone[part.inputs].view(len(part.outputs), -1).all(1)]] = True
    else:
        mask = torch.zeros_like(gone)
        mask[graph.layers[name].neurons[neurons]] = True
        gone |= graph.in_fine(mask)


def _iteration(graph: ChannelGraph, gone: Tensor, scores: Mapping[str, Tensor], step: Step) -> dict[str, int]:
    """Marks in `gone` what one iteration removes; returns how many of each layer."""
    going: dict[str, list[int]] = {}
    inside: dict[str, list[int]] = {}
    names = layers_of(step, graph)
    if unknown := [name for name in names if name not in scores]:
        raise SpecError(f"layer {unknown[0]!r} was not profiled; there are {', '.join(scores)}")
    together = _smaller(graph, gone, scores, step, names) if step.rule == "smaller" else {}
    for name in names:
        left = (~gone[graph.fine.layers[name].neurons]).nonzero().flatten()
        own = step.rule_for(name)
        if own.rule == "maxout":  # which of a unit's neurons go makes no difference here
            k = units_left(graph, gone)[name]
            inside[name] = left[choose_in_units(torch.zeros(len(left)), k, int(own.value))].tolist()
            continue
        if own.rule == "smaller":
            wanted = together[name]
        else:
            rule, groups = make_rule(own.rule, own.value), graph.layers[name].neurons[left]
            wanted = set(left[choose(scores[name][left], rule, _may_go(graph, name, left), groups)[0]].tolist())
        also = set(graph.together(name, step.also_cut.get(name, ()))).intersection(left.tolist())
        going[name] = sorted((wanted | also) - set(graph.together(name, step.never_cut.get(name, ()))))
        if step.multiple > 1:
            numbers = dict(zip(left.tolist(), graph.layers[name].neurons[left].tolist(), strict=True))
            going[name] = rounded_up(going[name], numbers, step.multiple, scores[name].tolist().__getitem__, also)
    whole = _whole(graph, gone)
    going = sparing_the_last(graph, going, lambda name, i: float(scores[name][i]), whole)
    for name, neurons in (going | inside).items():
        _remove(graph, gone, name, neurons)
    return {name: len(neurons) for name, neurons in (going | inside).items()}


def _may_go(graph: ChannelGraph, name: str, left: Tensor) -> list[int]:
    """The places of those that may go among the neurons that are left of a layer."""
    return graph.may_go[graph.layers[name].neurons[left]].nonzero().flatten().tolist()


def _smaller(
    graph: ChannelGraph, gone: Tensor, scores: Mapping[str, Tensor], step: Step, names: list[str]
) -> dict[str, set[int]]:
    """What the rule `smaller` takes of each layer."""
    whole, layers = _whole(graph, gone), {}
    for name in names:
        left = (~whole[graph.layers[name].neurons]).nonzero().flatten()
        never = set(graph.together(name, step.never_cut.get(name, ())))
        candidates = [place for place in _may_go(graph, name, left) if int(left[place]) not in never]
        layers[name] = ranked(graph.layers[name].neurons[left], scores[name][left], candidates)
    going = times_smaller(graph, layers, step.value, whole)
    return {name: {i for removal in going for i in removal.neurons.get(name, ())} for name in names}


def _whole(graph: ChannelGraph, gone: Tensor) -> Tensor:
    """The mask over the groups of `graph` that are away as a whole."""
    if graph.opened is None:
        return gone
    left = torch.zeros_like(gone)
    fine = torch.unique(torch.cat([groups for part in graph.fine.parts.values() for groups in part.groups.values()]))
    left[graph.coarse[fine[~gone[fine]]]] = True
    return ~left


def _zeros(graph: ChannelGraph, gone: Tensor, step: Step, round: int, before: int | None) -> int | None:
    """How many weights are held at zero after a round of a step, at least `before`."""
    if before is None:
        return None
    weights, sizes = {}, graph.fine.sizes(gone)
    for name, part in graph.fine.parts.items():
        if part.kind not in WITHOUT_NEURONS and (step.layers == ["all"] or name in step.layers):
            weights[name] = elements(part.weight.shape, part.axes["weight"], sizes[name])
    rules = {name: step.rule_for(name) for name in weights}
    if any(own.rule == "quality" for own in rules.values()):
        return None
    if step.rule == "sparsity-overall":
        return max(before, math.floor(scheduled(step.rule, step.value, round, step.iterations) * sum(weights.values())))
    asked = {name: scheduled(own.rule, own.value, round, step.iterations) for name, own in rules.items()}
    return max(before, sum(math.floor(asked[name] * count) for name, count in weights.items()))


def beyond(
    apoz: Sequence[float], rule: str, value: float, groups: Sequence[int] | None = None
) -> tuple[list[int], float | None]:
    """The neurons of one layer that a rule would remove now, and its threshold (None for rules that count). Neurons
    with the same number in `groups` only go together."""
    numbers = None if groups is None else torch.tensor(list(groups))
    return choose(torch.tensor(list(apoz), dtype=torch.float64), make_rule(rule, value), groups=numbers)
