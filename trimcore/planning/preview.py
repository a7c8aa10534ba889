"""Preview a plan before anything runs: apply its steps to the graph, using the current scores.

The result is an estimate if the rule depends on APoZ, which retraining changes. It is exact for `fraction`, `count` and
`keep`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trimcore.errors import SpecError
from trimcore.graph.channel_graph import WITHOUT_NEURONS, ChannelGraph, elements
from trimcore.graph.costs import Cost, cost_without
from trimcore.graph.heads import lost_heads
from trimcore.graph.removal import unit_sizes
from trimcore.planning.choice import choose, choose_in_units
from trimcore.planning.minimum import keep_one_per_layer
from trimcore.planning.ranking import ranked, times_smaller
from trimcore.planning.rounding import rounded_up
from trimcore.planning.selection import layers_of
from trimcore.spec import Step
from trimcore.spec.rules import make_rule
from trimcore.surgery.magnitude import scheduled


@dataclass(frozen=True)
class Seen:
    """A layer's APoZ as recorded by a run, None for neurons without an activation. `original` are the indices of its
    neurons in the base model."""

    apoz: Sequence[float | None]
    original: Sequence[int]


@dataclass(frozen=True)
class Stage:
    """The network after one iteration of the plan. `cut` is the number of neurons that it removes, by layer.

    `k` is the number of neurons per maxout unit, by layer, 1 once the maximum is gone. `zeros` is the number of weights
    held at zero; None if that depends on the weights (rule `quality`). `heads` is the number of attention heads that it
    removes, by layer.
    """

    step: int
    cut: dict[str, int]
    cost: Cost
    k: dict[str, int] = field(default_factory=dict)
    zeros: int | None = 0
    heads: dict[str, int] = field(default_factory=dict)


def preview(graph: ChannelGraph, seen: Mapping[str, Seen], steps: Sequence[Step]) -> list[Stage]:
    """Stage 0 is the network as profiled, followed by one stage per iteration that removes something.

    `graph` is the graph of the base model. `seen` is the profile of the network to start from, which may already have
    been cut. Raises SpecError for a layer that was not profiled.
    """
    gone = torch.zeros(graph.group_count, dtype=torch.bool)  # of graph.fine
    scores = {}
    for name, layer in seen.items():
        present, scores[name] = (
            torch.tensor(list(layer.original)),
            torch.zeros(graph.layer(name).width, dtype=torch.float64),
        )
        scores[name][present] = _tensor(layer.apoz)
        removed = torch.ones(len(scores[name]), dtype=torch.bool)
        removed[present] = False
        _remove(graph, gone, name, removed)
    stages = [Stage(-1, {}, cost_without(graph, gone), unit_sizes(graph, gone))]
    zeros: int | None = 0
    heads = _heads_gone(graph, gone)
    for number, step in enumerate(steps):
        for round in range(1, step.iterations + 1):
            if step.weights:
                cut, zeros = {}, _zeros(graph, gone, step, round, zeros)
            else:
                cut = _iteration(graph, gone, scores, step)
                if not any(cut.values()):
                    break
            before, heads = heads, _heads_gone(graph, gone)
            lost = {name: count - before[name] for name, count in heads.items() if count > before[name]}
            stages.append(Stage(number, cut, cost_without(graph, gone), unit_sizes(graph, gone), zeros, lost))
    return stages


def _heads_gone(graph: ChannelGraph, gone: Tensor) -> dict[str, int]:
    """The number of attention heads of which nothing is left, by layer."""
    neurons = {name: gone[graph.fine.layers[name].neurons].nonzero().flatten().tolist() for name in graph.heads}
    return {name: len(lost_heads(graph.heads[name], removed)) for name, removed in neurons.items()}


def _tensor(apoz: Sequence[float | None]) -> Tensor:
    return torch.tensor([math.nan if value is None else value for value in apoz], dtype=torch.float64)


def _remove(graph: ChannelGraph, gone: Tensor, name: str, neurons: Tensor | list[int]) -> None:
    """Mark neurons (a mask, or indices) in `gone`, together with everything that can only be removed with them. A
    maxout unit stays as long as it has other neurons."""
    if name in graph.units:
        part = graph.fine.parts[graph.units[name].maxout]
        gone[graph.fine.layers[name].neurons[neurons]] = True
        gone[part.outputs[gone[part.inputs].view(len(part.outputs), -1).all(1)]] = True
    else:
        mask = torch.zeros_like(gone)
        mask[graph.layers[name].neurons[neurons]] = True
        gone |= graph.to_fine(mask)


def _iteration(graph: ChannelGraph, gone: Tensor, scores: Mapping[str, Tensor], step: Step) -> dict[str, int]:
    """Mark in `gone` what one iteration removes. Returns the number of neurons by layer."""
    removed: dict[str, list[int]] = {}
    removed_in_units: dict[str, list[int]] = {}
    names = layers_of(step, graph)
    if unknown := [name for name in names if name not in scores]:
        raise SpecError(f"layer {unknown[0]!r} was not profiled; profiled are {', '.join(scores)}")
    by_smaller = _smaller(graph, gone, scores, step, names) if step.rule == "smaller" else {}
    for name in names:
        left = (~gone[graph.fine.layers[name].neurons]).nonzero().flatten()
        own = step.rule_for(name)
        if own.rule == "maxout":  # here it makes no difference which neurons of a unit are removed
            k = unit_sizes(graph, gone)[name]
            removed_in_units[name] = left[choose_in_units(torch.zeros(len(left)), k, int(own.value))].tolist()
            continue
        if own.rule == "smaller":
            chosen = by_smaller[name]
        else:
            rule, groups = make_rule(own.rule, own.value), graph.layers[name].neurons[left]
            chosen = set(left[choose(scores[name][left], rule, _candidates(graph, name, left), groups)[0]].tolist())
        also = set(graph.together(name, step.also_cut.get(name, ()))).intersection(left.tolist())
        removed[name] = sorted((chosen | also) - set(graph.together(name, step.never_cut.get(name, ()))))
        if step.multiple > 1:
            numbers = dict(zip(left.tolist(), graph.layers[name].neurons[left].tolist(), strict=True))
            removed[name] = rounded_up(removed[name], numbers, step.multiple, scores[name].tolist().__getitem__, also)
    removed = keep_one_per_layer(graph, removed, lambda name, i: float(scores[name][i]), _coarse_mask(graph, gone))
    for name, neurons in (removed | removed_in_units).items():
        _remove(graph, gone, name, neurons)
    return {name: len(neurons) for name, neurons in (removed | removed_in_units).items()}


def _candidates(graph: ChannelGraph, name: str, left: Tensor) -> list[int]:
    """The positions, among a layer's remaining neurons, of those that may be removed."""
    return graph.removable[graph.layers[name].neurons[left]].nonzero().flatten().tolist()


def _smaller(
    graph: ChannelGraph, gone: Tensor, scores: Mapping[str, Tensor], step: Step, names: list[str]
) -> dict[str, set[int]]:
    """The neurons that the rule `smaller` removes from each layer."""
    mask, layers = _coarse_mask(graph, gone), {}
    for name in names:
        left = (~mask[graph.layers[name].neurons]).nonzero().flatten()
        never = set(graph.together(name, step.never_cut.get(name, ())))
        candidates = [place for place in _candidates(graph, name, left) if int(left[place]) not in never]
        layers[name] = ranked(graph.layers[name].neurons[left], scores[name][left], candidates)
    removals = times_smaller(graph, layers, step.value, mask)
    return {name: {i for removal in removals for i in removal.neurons.get(name, ())} for name in names}


def _coarse_mask(graph: ChannelGraph, gone: Tensor) -> Tensor:
    """Mask of the groups of `graph` that are completely gone."""
    if graph.per_neuron is None:
        return gone
    left = torch.zeros_like(gone)
    fine = torch.unique(torch.cat([groups for part in graph.fine.parts.values() for groups in part.groups.values()]))
    left[graph.coarse_group[fine[~gone[fine]]]] = True
    return ~left


def _zeros(graph: ChannelGraph, gone: Tensor, step: Step, round: int, before: int | None) -> int | None:
    """The number of weights held at zero after a round of a step, at least `before`."""
    if before is None:
        return None
    weights, sizes = {}, graph.fine.sizes(gone)
    for name, part in graph.fine.parts.items():
        if part.kind not in WITHOUT_NEURONS and (step.layers == ["all"] or name in step.layers):
            weights[name] = sum(elements(weight.shape, roles, sizes[name]) for weight, roles in part.weights)
    rules = {name: step.rule_for(name) for name in weights}
    if any(own.rule == "quality" for own in rules.values()):
        return None
    if step.rule == "sparsity-overall":
        return max(before, math.floor(scheduled(step.rule, step.value, round, step.iterations) * sum(weights.values())))
    shares = {name: scheduled(own.rule, own.value, round, step.iterations) for name, own in rules.items()}
    return max(before, sum(math.floor(shares[name] * count) for name, count in weights.items()))


def beyond(
    apoz: Sequence[float | None], rule: str, value: float, groups: Sequence[int] | None = None
) -> tuple[list[int], float | None]:
    """The neurons of one layer that a rule would remove now, and its threshold (None for rules that count). Neurons
    with the same number in `groups` are only removed together."""
    numbers = None if groups is None else torch.tensor(list(groups))
    return choose(_tensor(apoz), make_rule(rule, value), groups=numbers)
