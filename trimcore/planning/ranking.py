"""The one order in which neurons of several layers would leave, the least harm first, and how far a cost goes along it.

A step takes a whole channel group: neurons that only go together, also those of a maxout unit. `gone` masks the groups
that are away already, as a plan on paper has them; None where none is.
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import cost_without
from trimcore.planning.plan import LayerPlan, Plan


class Ranked(NamedTuple):
    """The steps of one layer, the highest score first. A group has the mean score of its neurons."""

    groups: list[int]
    scores: list[float]
    z_scores: list[float]
    sizes: list[int]  # in neurons

    @property
    def tails(self) -> list[float]:
        """The harm of each step without further knowledge: the share of a normal distribution above its z-score."""
        return [0.5 * math.erfc(z / math.sqrt(2)) for z in self.z_scores]


class Removal(NamedTuple):
    """A step: the channel group that goes, and the neurons that it takes along, by planned layer."""

    harm: float
    group: int
    neurons: dict[str, list[int]]


def ranked(groups: Tensor, scores: Tensor, candidates: Sequence[int]) -> Ranked:
    """The neurons of a layer, ranked as `planning.choose` does it: `groups` and `scores` (width,), of which
    `candidates` may go."""
    own = scores.double()
    numbers, which, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    mean = torch.zeros(len(numbers), dtype=torch.float64).index_add_(0, which, own) / sizes
    z = (mean - own.mean()) / (mean[which].std(correction=0) or 1.0)
    may_go = dict.fromkeys(which[list(candidates)].tolist())  # in the order of their first neurons
    order = sorted(may_go, key=lambda k: -float(mean[k]))
    return Ranked(*(values[order].tolist() for values in (numbers, mean, z, sizes)))


def times_smaller(
    graph: ChannelGraph, layers: Mapping[str, Ranked], times: float, gone: Tensor | None = None
) -> list[Removal]:  # fmt: skip
    """The steps that make the whole network `times` times smaller in parameters, or all where that is not enough.

    A neuron's harm is the share of a normal distribution above its z-score in its layer, divided by the square of the
    layer's width, for each parameter that it saves. The square is what follows if a layer of n neurons errs in
    proportion to 1 / n: one of few is missed more than one of many, so that wide layers give first and a narrow one is
    not emptied for the large matrix behind it.
    """
    harms = {name: [tail / sum(layer.sizes) ** 2 for tail in layer.tails] for name, layer in layers.items()}
    harms = {name: per_saved(graph, layers[name], own, "parameters", gone) for name, own in harms.items()}
    order = in_order(graph, layers, harms, gone=gone)
    going = order[: needed(graph, order, "parameters", times, gone)]
    return _without_surplus(graph, going, cost_left(graph, [], "parameters", gone) / times, gone)


def _without_surplus(
    graph: ChannelGraph, going: list[Removal], most: float, gone: Tensor | None
) -> list[Removal]:  # fmt: skip
    """The steps less those that the last ones, where a neuron is dear, have made needless: the most harmful go back
    first, and of each layer the last to leave."""
    groups, open_layers = [step.group for step in going], {name for step in going for name in step.neurons}
    for step in reversed(going):
        if not open_layers:
            break
        if open_layers.issuperset(step.neurons):
            rest = [group for group in groups if group != step.group]
            if cost_left(graph, rest, "parameters", gone) <= most:
                groups = rest
                continue
        open_layers -= step.neurons.keys()
    needful = set(groups)
    return [step for step in going if step.group in needful]


def per_saved(
    graph: ChannelGraph, layer: Ranked, harms: Sequence[float], counted: str, gone: Tensor | None = None
) -> list[float]:
    """Harms divided by the parameters (or "macs") that one neuron of the layer saves in the network as it is."""
    if not layer.groups:
        return list(harms)
    saved = (cost_left(graph, [], counted, gone) - cost_left(graph, layer.groups[:1], counted, gone)) / layer.sizes[0]
    return [harm / max(saved, 1.0) for harm in harms]


def in_order(
    graph: ChannelGraph, layers: Mapping[str, Ranked], harms: Mapping[str, Sequence[float]], least: int = 1,
    gone: Tensor | None = None,
) -> list[Removal]:  # fmt: skip
    """All steps by harm, which must not fall within a layer; of equal harm by the share of the layer that is gone. No
    layer of the network falls below `least` neurons: the one whose turn it is ends there."""
    where: dict[int, dict[str, list[int]]] = defaultdict(dict)  # group -> its neurons in each layer
    left = {}
    for name, layer in graph.layers.items():
        there = range(layer.width) if gone is None else (~gone[layer.neurons]).nonzero().flatten().tolist()
        left[name], groups = len(there), layer.neurons.tolist()
        for neuron in there:
            where[groups[neuron]].setdefault(name, []).append(neuron)
    steps = [
        (harms[name][i], (i + 1) / len(layer.groups), place, name, group)
        for place, (name, layer) in enumerate(layers.items())
        for i, group in enumerate(layer.groups)
    ]
    ended, order = set(), {}
    for harm, _, _, name, group in sorted(steps):
        if name in ended or group in order:
            continue
        after = {other: left[other] - len(neurons) for other, neurons in where[group].items()}
        if min(after.values()) < least:
            ended.add(name)
        else:
            left |= after
            order[group] = Removal(harm, group, {n: own for n, own in where[group].items() if n in layers})
    return list(order.values())


def cost_left(graph: ChannelGraph, groups: Collection[int], counted: str, gone: Tensor | None = None) -> int:
    """The parameters, or "macs", without these groups too."""
    mask = torch.zeros(graph.group_count, dtype=torch.bool) if gone is None else gone.clone()
    mask[list(groups)] = True
    left: int = getattr(cost_without(graph, graph.in_fine(mask)), counted)
    return left


def needed(
    graph: ChannelGraph, order: Sequence[Removal], counted: str, times: float, gone: Tensor | None = None
) -> int:  # fmt: skip
    """The fewest steps after which the cost is `times` times smaller; more than there are where all do not do it."""
    groups, now = [step.group for step in order], cost_left(graph, [], counted, gone)
    steps = range(len(order) + 1)
    return bisect_left(steps, True, key=lambda n: cost_left(graph, groups[:n], counted, gone) * times <= now)


def planned(layers: Mapping[str, Ranked], steps: Sequence[Removal], rule: str = "keep") -> Plan:
    """The neurons of these steps, with the highest score that stays in each layer as its threshold."""
    gone, plans = {step.group for step in steps}, {}
    for name, own in layers.items():
        cut = sorted(i for step in steps for i in step.neurons.get(name, ()))
        stays = [score for group, score in zip(own.groups, own.scores, strict=True) if group not in gone]
        plans[name] = LayerPlan(tuple(cut), rule, max(stays, default=None))
    return Plan(plans)
