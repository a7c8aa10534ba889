"""What a plan would leave, before anything runs: the steps carried out on the graph, with the scores as they are now.

An estimate where the rule depends on APoZ, which retraining changes; exact for `fraction`, `count` and `keep`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from trimcore import models
from trimcore.costs import Cost, cost_without
from trimcore.errors import SpecError
from trimcore.graph import ChannelGraph
from trimcore.planning import choose, make_rule
from trimcore.sparing import sparing_the_last
from trimcore.spec import Step
from trimcore.tracing import trace


@dataclass(frozen=True)
class Seen:
    """A layer's APoZ as a run recorded it: `original` are its neurons' indices in the base model."""

    apoz: Sequence[float]
    original: Sequence[int]


@dataclass(frozen=True)
class Stage:
    """The network after one iteration of the plan; `cut` counts the neurons that this iteration removes."""

    step: int
    cut: dict[str, int]
    cost: Cost


def blank(model: str, num_classes: int, channels: int, image_size: int) -> ChannelGraph:
    """The graph of a registered architecture, without memory for its weights."""
    arguments = {"num_classes": num_classes, "in_channels": channels, "image_size": image_size}
    return trace(models.empty(model, **arguments), models.example_input(arguments))


def preview(graph: ChannelGraph, seen: Mapping[str, Seen], steps: Sequence[Step]) -> list[Stage]:
    """Stage 0 is the network as profiled; then one stage for each iteration that removes something.

    `graph` is of the base model, `seen` the profile of the network to begin from (which may have been cut already).
    Raises SpecError for a layer that was not profiled.
    """
    gone = torch.zeros(graph.group_count, dtype=torch.bool)
    scores = {name: dict(zip(layer.original, layer.apoz, strict=True)) for name, layer in seen.items()}
    for name in seen:
        layer = graph.layer(name)
        gone[layer.neurons[[i for i in range(layer.width) if i not in scores[name]]]] = True
    stages = [Stage(-1, {}, cost_without(graph, gone))]
    for number, step in enumerate(steps):
        for _ in range(step.iterations):
            cut = _iteration(graph, gone, scores, step)
            if not any(cut.values()):
                break
            stages.append(Stage(number, cut, cost_without(graph, gone)))
    return stages


def _iteration(graph: ChannelGraph, gone: torch.Tensor, scores: dict, step: Step) -> dict[str, int]:
    """Marks in `gone` what one iteration removes; returns how many of each layer."""
    going: dict[str, list[int]] = {}
    for name in graph.trimmable() if step.layers == ["all"] else step.layers:
        if name not in scores:
            raise SpecError(f"layer {name!r} was not profiled; there are {', '.join(scores)}")
        neurons = graph.layers[name].neurons
        left = (~gone[neurons]).nonzero().flatten().tolist()
        allowed = set(graph.candidates(name))
        rule = make_rule(step.rule_for(name).rule, step.rule_for(name).value)
        ranking = torch.tensor([scores[name].get(i, 0.0) for i in left], dtype=torch.float64)
        chosen, _ = choose(ranking, rule, [k for k, i in enumerate(left) if i in allowed], neurons[left])
        wanted = {left[k] for k in chosen} | set(graph.together(name, step.also_cut.get(name, ())))
        wanted -= set(graph.together(name, step.never_cut.get(name, ())))
        going[name] = [i for i in left if i in wanted]
    going = sparing_the_last(graph, going, lambda name, i: scores[name].get(i, 0.0), gone)
    for name, neurons in going.items():
        gone[graph.layers[name].neurons[neurons]] = True
    return {name: len(neurons) for name, neurons in going.items()}


def beyond(
    apoz: Sequence[float], rule: str, value: float, groups: Sequence[int] | None = None
) -> tuple[list[int], float | None]:
    """The neurons of one layer that a rule would remove now, and its threshold (None for rules that count). Neurons
    with the same number in `groups` only go together."""
    numbers = None if groups is None else torch.tensor(list(groups))
    return choose(torch.tensor(list(apoz), dtype=torch.float64), make_rule(rule, value), groups=numbers)
