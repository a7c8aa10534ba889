"""What a step of the spec removes from the current network."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import cost_without
from trimcore.graph.heads import lost_heads
from trimcore.graph.removal import removed_groups
from trimcore.planning.minimum import keep_one_per_layer
from trimcore.planning.plan import Plan, plan, plan_within_units
from trimcore.planning.ranking import as_plan, ranked, times_smaller
from trimcore.planning.rounding import rounded_up
from trimcore.scoring import criteria
from trimcore.scoring.apoz import Profile
from trimcore.scoring.relevance import UnitRelevance
from trimcore.spec import Step
from trimcore.spec.rules import make_rule
from trimcore.surgery import magnitude
from trimcore.surgery.magnitude import WeightCut

Origins = Mapping[str, list[int]]


def choose_neurons(
    step: Step, graph: ChannelGraph, seen: Profile, units: Mapping[str, UnitRelevance], origins: Origins, seed: int
) -> Plan:
    """The neurons to remove: those that the rules choose from the profile `seen`, those that the step names, and, in
    layers with the rule `maxout`, the least relevant of each unit that still takes a maximum."""
    names = layers_of(step, graph)
    maxout = [name for name in names if step.rule_for(name).rule == "maxout"]
    chosen = _by_rules([name for name in names if name not in maxout], step, graph, seen, origins, seed)
    for name in maxout:
        if name in units:
            ranking = criteria.scores_in_units(step.criterion_for(name), units, graph, seed)
            chosen |= plan_within_units(units, int(step.rule_for(name).value), name, ranking)
    return chosen


def cost_of_rounding(
    step: Step, chosen: Plan, graph: ChannelGraph, seen: Profile, units: Mapping[str, UnitRelevance], origins: Origins,
    seed: int,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """The parameters that stay only because the step rounds widths, as an entry of the event `pruned`; {} if the step
    does not round."""
    if step.multiple == 1:
        return {}
    exactly = choose_neurons(step.model_copy(update={"multiple": 1}), graph, seen, units, origins, seed)
    left = [cost_without(graph, removed_groups(graph, plan)).parameters for plan in (chosen, exactly)]
    return {"rounding": {"multiple": step.multiple, "parameters": left[0] - left[1]}}


def layers_of(step: Step, graph: ChannelGraph) -> list[str]:
    """The layers of a step that prunes neurons; "all" means all layers that its rule applies to."""
    if step.layers != ["all"]:
        return step.layers
    own = {name for name, rule in step.layer.items() if rule.rule == "maxout"}
    maxout = [name for name in graph.units if step.rule == "maxout" or name in own]
    return maxout if step.rule == "maxout" else [*dict.fromkeys([*graph.trimmable(), *maxout])]


def _by_rules(
    names: list[str], step: Step, graph: ChannelGraph, seen: Profile, origins: Origins, seed: int
) -> Plan:  # fmt: skip
    criterion_of = {name: step.criterion_for(name) for name in names}
    scores = {criterion: criteria.scores(criterion, seen, graph, seed) for criterion in set(criterion_of.values())}
    ranking = {name: scores[criterion][name] for name, criterion in criterion_of.items()}
    if step.rule == "smaller":
        chosen = _smaller(step, graph, seen, origins, ranking)
    else:
        rules = {name: make_rule(step.rule_for(name).rule, step.rule_for(name).value) for name in names}
        chosen = plan(seen, rules, names, ranking)
    for name in names:
        now = {original: index for index, original in enumerate(origins[name])}
        also, never = (
            graph.together(name, [now[i] for i in listed.get(name, []) if i in now])
            for listed in (step.also_cut, step.never_cut)
        )
        chosen = chosen.adding(name, also).sparing(name, never)
        if step.multiple > 1:
            groups, scored = dict(enumerate(graph.layers[name].neurons.tolist())), ranking[name].tolist()
            left = rounded_up(chosen[name], groups, step.multiple, scored.__getitem__, also)
            chosen = chosen.sparing(name, set(chosen[name]) - set(left))
    return chosen.only(keep_one_per_layer(graph, chosen, lambda name, i: float(ranking[name][i])))


def _smaller(
    step: Step, graph: ChannelGraph, seen: Profile, origins: Origins, ranking: Mapping[str, Tensor]
) -> Plan:  # fmt: skip
    """The choice of the rule `smaller` among the neurons that may be removed."""
    never = {name: set(step.never_cut.get(name, ())) for name in ranking}
    layers = {
        name: ranked(graph.layers[name].neurons, scores, [
            i for i in seen[name].candidates
            if never[name].isdisjoint(origins[name][k] for k in graph.together(name, [i]))
        ])
        for name, scores in ranking.items()
    }  # fmt: skip
    return as_plan(layers, times_smaller(graph, layers, step.value), "smaller")


def layer_entries(step: Step, chosen: Plan, origins: Origins, graph: ChannelGraph) -> dict[str, dict[str, Any]]:
    """A plan as the `layers` of an event `pruned`. `heads`: how many attention heads lose all their neurons."""
    return {
        name: {
            "rule": layer.rule, "value": step.rule_for(name).value, "criterion": step.criterion_for(name),
            "threshold": layer.threshold, "cut": list(layer.cut),
            "original": [origins[name][i] for i in layer.cut],
            **({"heads": len(lost_heads(graph.heads[name], layer.cut))} if name in graph.heads else {}),
        }
        for name, layer in chosen.layers.items()
    }  # fmt: skip


def choose_weights(step: Step, network: nn.Module, round: int) -> tuple[dict[str, Tensor], dict[str, WeightCut]]:
    """The masks of the weights that stay, and the effect, by layer, in iteration `round` (from 1) of a step."""
    names = list(magnitude.prunable(network)) if step.layers == ["all"] else step.layers
    rule_of = {name: step.rule_for(name) for name in names}
    rules = {
        name: (own.rule, magnitude.scheduled(own.rule, own.value, round, step.iterations))
        for name, own in rule_of.items()
    }
    return magnitude.choose_weights(network, rules)
