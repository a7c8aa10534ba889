"""Order the removals of all layers by harm, least first, and find how many of them a target cost needs.

A removal takes a whole channel group: neurons that can only be removed together, including those of a maxout unit. A
cost is "parameters", "macs", or a function of the mask of removed groups, such as predicted milliseconds.
`gone` masks the groups that are already removed, on paper only (None: no groups).
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import cost_without
from trimcore.planning.plan import LayerPlan, Plan

Counted = str | Callable[[Tensor], float]  # "parameters", "macs", or a function of a mask over the groups of `fine`


class Ranked(NamedTuple):
    """The channel groups of one layer, the highest score first. A group has the mean score of its neurons."""

    groups: list[int]
    scores: list[float]
    z_scores: list[float]
    sizes: list[int]  # in neurons

    @property
    def tails(self) -> list[float]:
        """The default harm of removing each group: the share of a normal distribution above its z-score."""
        return [0.5 * math.erfc(z / math.sqrt(2)) for z in self.z_scores]


class Removal(NamedTuple):
    """The removal of one channel group, and the neurons that this removes, by planned layer."""

    harm: float
    group: int
    neurons: dict[str, list[int]]


def ranked(groups: Tensor, scores: Tensor, candidates: Sequence[int]) -> Ranked:
    """Rank the neurons of a layer as `choice.choose` does. `groups` and `scores` are (width,); only `candidates` whose
    score is a number may be removed."""
    own = scores.double()
    candidates = [i for i in candidates if not own[i].isnan()]
    numbers, which, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    mean = torch.zeros(len(numbers), dtype=torch.float64).index_add_(0, which, own) / sizes
    known = mean[which][~mean[which].isnan()]
    z = (mean - known.mean()) / (known.std(correction=0) or 1.0)
    removable = dict.fromkeys(which[list(candidates)].tolist())  # in order of their first neurons
    order = sorted(removable, key=lambda k: -float(mean[k]))
    return Ranked(*(values[order].tolist() for values in (numbers, mean, z, sizes)))


def times_smaller(
    graph: ChannelGraph, layers: Mapping[str, Ranked], times: float, gone: Tensor | None = None
) -> list[Removal]:  # fmt: skip
    """The removals that reduce the network's parameters by a factor of `times`, or all removals if they do not suffice.

    A neuron's harm is the share of a normal distribution above its z-score in its layer, divided by the square of the
    layer's width and by the number of parameters that it saves. The square follows from the assumption that the error
    of a layer of n neurons is proportional to 1 / n. It makes wide layers lose neurons first, so a narrow layer is not
    emptied because of the large matrix behind it.
    """
    harms = {name: [tail / sum(layer.sizes) ** 2 for tail in layer.tails] for name, layer in layers.items()}
    harms = {name: harm_per_saving(graph, layers[name], own, "parameters", gone) for name, own in harms.items()}
    order = removal_order(graph, layers, harms, gone=gone)
    removals = order[: removals_needed(graph, order, "parameters", times, gone)]
    return _without_surplus(graph, removals, cost_left(graph, [], "parameters", gone) / times, gone)


def _without_surplus(
    graph: ChannelGraph, removals: list[Removal], limit: float, gone: Tensor | None
) -> list[Removal]:  # fmt: skip
    """The removals without those that became unnecessary because the last ones save many parameters. The most harmful
    removals are undone first, and in each layer the last one first."""
    groups, open_layers = [step.group for step in removals], {name for step in removals for name in step.neurons}
    for step in reversed(removals):
        if not open_layers:
            break
        if open_layers.issuperset(step.neurons):
            rest = [group for group in groups if group != step.group]
            if cost_left(graph, rest, "parameters", gone) <= limit:
                groups = rest
                continue
        open_layers -= step.neurons.keys()
    necessary = set(groups)
    return [step for step in removals if step.group in necessary]


def harm_per_saving(
    graph: ChannelGraph, layer: Ranked, harms: Sequence[float], counted: Counted, gone: Tensor | None = None
) -> list[float]:
    """Harms divided by what one neuron of the layer saves in the current network: parameters, MACs, or for other costs
    the mean over half of the layer, because time does not fall with every neuron."""
    if not layer.groups:
        return list(harms)
    count, least = (1, 1.0) if isinstance(counted, str) else (max(1, len(layer.groups) // 2), 1e-9)
    whole, without = (cost_left(graph, groups, counted, gone) for groups in ([], layer.groups[:count]))
    saved = (whole - without) / sum(layer.sizes[:count])
    return [harm / max(saved, least) for harm in harms]


def removal_order(
    graph: ChannelGraph, layers: Mapping[str, Ranked], harms: Mapping[str, Sequence[float]], least: int = 1,
    gone: Tensor | None = None,
) -> list[Removal]:  # fmt: skip
    """All removals, ordered by harm, then by the share of the layer that is removed. Within a layer, harm must not
    decrease. A layer is done once its next removal would leave any layer of the network with fewer than `least`
    neurons."""
    where: dict[int, dict[str, list[int]]] = defaultdict(dict)  # group -> its neurons in each layer
    left = {}
    for name, layer in graph.layers.items():
        present = range(layer.width) if gone is None else (~gone[layer.neurons]).nonzero().flatten().tolist()
        left[name], groups = len(present), layer.neurons.tolist()
        for neuron in present:
            where[groups[neuron]].setdefault(name, []).append(neuron)
    steps = [
        (harms[name][i], (i + 1) / len(layer.groups), place, name, group)
        for place, (name, layer) in enumerate(layers.items())
        for i, group in enumerate(layer.groups)
    ]
    done, order = set(), {}
    for harm, _, _, name, group in sorted(steps):
        if name in done or group in order:
            continue
        after = {other: left[other] - len(neurons) for other, neurons in where[group].items()}
        if min(after.values()) < least:
            done.add(name)
        else:
            left |= after
            order[group] = Removal(harm, group, {n: own for n, own in where[group].items() if n in layers})
    return list(order.values())


def cost_left(graph: ChannelGraph, groups: Collection[int], counted: Counted, gone: Tensor | None = None) -> float:
    """The cost of the network after also removing these groups."""
    mask = torch.zeros(graph.group_count, dtype=torch.bool) if gone is None else gone.clone()
    mask[list(groups)] = True
    if not isinstance(counted, str):
        return counted(graph.to_fine(mask))
    left: int = getattr(cost_without(graph, graph.to_fine(mask)), counted)
    return left


def removals_needed(
    graph: ChannelGraph, order: Sequence[Removal], counted: Counted, times: float, gone: Tensor | None = None
) -> int:  # fmt: skip
    """The fewest removals that reduce the cost by a factor of `times`; `len(order) + 1` if all of them do not."""
    groups, now = [step.group for step in order], cost_left(graph, [], counted, gone)
    steps = range(len(order) + 1)
    return bisect_left(steps, True, key=lambda n: cost_left(graph, groups[:n], counted, gone) * times <= now)


def as_plan(layers: Mapping[str, Ranked], steps: Sequence[Removal], rule: str = "keep") -> Plan:
    """The removals as a plan. The threshold of a layer is the highest score that stays."""
    gone, plans = {step.group for step in steps}, {}
    for name, own in layers.items():
        cut = sorted(i for step in steps for i in step.neurons.get(name, ()))
        stays = [score for group, score in zip(own.groups, own.scores, strict=True) if group not in gone]
        plans[name] = LayerPlan(tuple(cut), rule, max(stays, default=None))
    return Plan(plans)
