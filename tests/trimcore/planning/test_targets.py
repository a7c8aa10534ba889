"""Targets: met tightly, nested, with a minimum width per layer; by hand, and on all kinds of networks."""

import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.trimcore.nets import NETS, Net
from tests.trimcore.oracle import images, randomised
from trimcore.errors import SpecError
from trimcore.graph.costs import cost, cost_of
from trimcore.graph.tracing import trace
from trimcore.planning.harm import predicted
from trimcore.planning.minimum import keep_one_per_layer
from trimcore.planning.plan import Plan
from trimcore.planning.plan import plan as make_plan
from trimcore.planning.selection import choose_neurons
from trimcore.planning.sensitivity import Point, Sensitivity
from trimcore.planning.targets import Accuracy, LessWork, NoLayerAbove, Smaller, as_step, propose
from trimcore.scoring.apoz import profile
from trimcore.spec import parse
from trimcore.spec.rules import Absolute
from trimcore.surgery.cut import prune

COUNTED = {Smaller: "parameters", LessWork: "macs"}


@cache
def seen(name: str):
    """Graph and profile of a network."""
    torch.manual_seed(0)
    model, x = randomised(NETS[name]()), images(6, 3, 8, 8)
    graph = trace(model, x)
    return graph, profile(model, [x], graph=graph)


def drawn_scores(graph, found, seed: int) -> dict[str, Tensor]:
    """A random score for each neuron, equal for neurons that can only be removed together."""
    by_group = torch.rand(graph.group_count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {name: by_group[graph.layers[name].neurons] for name in found.layers}


def drawn_sensitivity(found, seed: int) -> Sensitivity:
    """Randomly falling curves that start with a flat part."""
    generator, points = torch.Generator().manual_seed(seed), []
    for name, layer in found.layers.items():
        bend = 0.5 + 4 * float(torch.rand((), generator=generator))
        for kept in sorted({layer.width, *range(1, layer.width, 2)}, reverse=True):
            gone = 1 - kept / layer.width
            points.append(Point(name, kept / layer.width, kept, 0.9 - 0.8 * max(0, gone - 0.2) ** bend))
    return Sensitivity(100, 0.9, points)


def last_of_each_layer(graph, plan: Plan, scores) -> list[dict[str, list[int]]]:
    """One plan per layer, in which the removed group with the lowest score in that layer is restored."""
    fewer = []
    for name, neurons in plan.items():
        if neurons:
            lowest = min(float(scores[name][i]) for i in neurons)
            back = graph.layers[name].neurons[[i for i in neurons if float(scores[name][i]) == lowest]]
            fewer.append({n: [i for i in cut if graph.layers[n].neurons[i] not in back] for n, cut in plan.items()})
    return fewer


how = st.fixed_dictionaries({
    "least": st.integers(1, 3), "cost_aware": st.booleans(), "sensitivity": st.one_of(st.none(), st.integers(0, 99))
})  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(NETS)), st.sampled_from([Smaller, LessWork]), st.floats(1, 6), st.floats(1, 2),
    st.integers(0, 10**6), how,
)  # fmt: skip
def test_a_cost_target_is_met_tightly_and_a_larger_one_removes_more(name, kind, times, more, seed, how):
    graph, found = seen(name)
    scores = drawn_scores(graph, found, seed)
    if how["sensitivity"] is not None:
        how = {**how, "sensitivity": drawn_sensitivity(found, how["sensitivity"])}

    def ask(target):
        return propose(graph, found, target, scores=scores, **how)

    def left(plan) -> int:
        return getattr(cost_of(graph, plan), COUNTED[kind])

    try:
        plan = ask(kind(times))
    except SpecError as error:
        most = float(str(error).split("the maximum is ")[1].split(" times")[0])
        assert 1 <= most < times
        assert left(ask(kind(most))) * most <= left({})
        return
    assert left(plan) * times <= left({})
    if plan.total:
        assert any(left(fewer) * times > left({}) for fewer in last_of_each_layer(graph, plan, scores))
    else:
        assert times == pytest.approx(1)
    widths = cost_of(graph, plan).widths
    for layer, neurons in plan.items():
        assert list(neurons) == graph.together(layer, neurons)
        assert set(neurons) <= set(graph.candidates(layer))
        stays = [float(scores[layer][i]) for i in graph.candidates(layer) if i not in neurons]
        assert all(float(scores[layer][i]) >= max(stays, default=0) for i in neurons)
        assert plan.layers[layer].threshold == pytest.approx(max(stays, default=None))
    assert all(widths[n] >= min(how["least"], layer.width) for n, layer in graph.layers.items() if layer.width)
    try:
        larger = ask(kind(times * more))
    except SpecError:
        return
    assert all(set(neurons) <= set(larger[layer]) for layer, neurons in plan.items())


@pytest.mark.parametrize("name", ["conv_norm_relu", "residual", "dense", "maxouts", "depthwise"])
@pytest.mark.parametrize("kind", [Smaller, LessWork])
def test_the_cut_network_meets_the_cost(name, kind):
    graph, found = seen(name)
    plan = propose(graph, found, kind(1.5))
    small = cost(prune(graph.model, plan, graph=graph), images(2, 3, 8, 8))
    assert getattr(cost_of(graph), COUNTED[kind]) >= 1.5 * getattr(small, COUNTED[kind])


def perceptron(*widths: int):
    """Linear layers fc0, fc1, ... with ReLU between them, and the profile of a batch."""
    layers = {f"fc{i}": nn.Linear(a, b) for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))}

    def steps(m, x):
        for name in list(layers)[:-1]:
            x = m.relu(getattr(m, name)(x))
        return getattr(m, list(layers)[-1])(x)

    torch.manual_seed(0)
    model = Net(steps, relu=nn.ReLU(), **layers)
    graph = trace(model, torch.zeros(2, widths[0]))
    return graph, profile(model, [torch.randn(8, widths[0])], graph=graph)


def test_targets_by_hand():
    graph, found = perceptron(10, 4, 2, 5)  # 44 + 10 + 15 = 69 parameters
    scores = {"fc0": torch.tensor([0.1, 0.9, 0.5, 0.5]), "fc1": torch.tensor([0.5, 0.7])}
    # z-scores: 0.4 / 0.283 = 1.41 (neuron 1 of fc0), 0, 0, -1.41; 1 (neuron 1 of fc1), -1.
    # In this order, a neuron of fc0 saves 11 plus one per remaining neuron of fc1; a neuron of fc1 saves 1 plus one per
    # remaining neuron of fc0 plus 5: 69 - 13 = 56, - (1 + 3 + 5) = 47, - 12 = 35, - 12 = 23.
    steps = [("fc0", 1), ("fc1", 1), ("fc0", 2), ("fc0", 3)]
    for parameters, count in ((69, 0), (68.9, 1), (56, 1), (55.9, 2), (47, 2), (46, 3), (35, 3), (30, 4), (23, 4)):
        plan = propose(graph, found, Smaller(69 / parameters - 1e-12 if count else 1), scores=scores)
        assert {(name, i) for name in plan for i in plan[name]} == set(steps[:count])
    with pytest.raises(SpecError, match=r"3.01 times fewer parameters is impossible: .* the maximum is 3 times"):
        propose(graph, found, Smaller(3.01), scores=scores)
    with pytest.raises(SpecError, match="with at least 2 neurons per layer, the maximum is 1.604 times"):
        propose(graph, found, Smaller(2), scores=scores, least=2)  # 69 / 43
    plan = propose(graph, found, Smaller(69 / 56), scores=scores)
    assert [plan.layers[name].threshold for name in plan] == pytest.approx([0.5, 0.7])


def test_only_the_named_layers_lose_neurons():
    graph, found = perceptron(10, 4, 6, 5)
    plan = propose(graph, found, Smaller(1.2), ["fc1"])
    assert list(plan) == ["fc1"]
    assert plan["fc1"]


def test_cost_aware_plans_cut_the_expensive_layer_first():
    graph, found = perceptron(100, 6, 6, 2)  # a neuron of fc0 saves 107, one of fc1 9
    scores = {"fc0": torch.arange(6.0), "fc1": torch.arange(6.0)}
    plain, aware = (propose(graph, found, Smaller(1.45), scores=scores, cost_aware=aware) for aware in (False, True))
    assert dict(plain) == {"fc0": (4, 5), "fc1": (5,)}  # 662 - 107 - 8 - 106 = 441 parameters, at most 456 are allowed
    assert dict(aware) == {"fc0": (4, 5), "fc1": ()}  # 662 - 2 * 107 = 448


FLAT = [(8, 0.9), (4, 0.9), (2, 0.88)]
STEEP = [(8, 0.9), (6, 0.7), (2, 0.1)]
HALF = Sensitivity(10, 0.9, [Point(n, k / 8, k, a) for n, curve in (("fc0", FLAT), ("fc1", STEEP)) for k, a in curve])


def test_the_predicted_accuracy_by_hand():
    assert predicted(HALF, {"fc0": 8, "fc1": 8}) == pytest.approx(0.9)
    assert predicted(HALF, {"fc0": 3}) == pytest.approx(0.89)  # halfway between two points
    assert predicted(HALF, {"fc0": 3, "fc1": 7}) == pytest.approx(0.9 - 0.01 - 0.1)
    assert predicted(HALF, {"fc0": 1}) == pytest.approx(0.44)  # halfway from the last point to 0 at zero neurons
    assert predicted(HALF, {"fc0": 2, "fc1": 0}) == 0
    rising = Sensitivity(10, 0.9, [Point("a", 1, 4, 0.9), Point("a", 0.5, 2, 0.6), Point("a", 0.25, 1, 0.8)])
    assert predicted(rising, {"a": 1}) == pytest.approx(0.6)  # fewer neurons never count as better


def test_layers_with_flat_curves_lose_more():
    graph, found = perceptron(8, 8, 8, 2)
    plan = propose(graph, found, Smaller(1.5), sensitivity=HALF)
    assert len(plan["fc0"]) > len(plan["fc1"])
    assert plan["fc1"] == ()
    even = Sensitivity(10, 0.9, [Point(n, k / 8, k, 0.9) for n in ("fc0", "fc1") for k in (8, 1)])
    plan = propose(graph, found, Smaller(1.9), sensitivity=even)
    assert abs(len(plan["fc0"]) - len(plan["fc1"])) <= 1  # equal losses: equal shares


def test_an_accuracy_target_removes_as_much_as_it_allows():
    graph, found = perceptron(8, 8, 8, 2)
    kept = {}
    for at_least in (0.9, 0.889, 0.88, 0.875, 0.79, 0.6):
        plan = propose(graph, found, Accuracy(at_least), sensitivity=HALF)
        kept[at_least] = tuple(8 - len(plan[name]) for name in ("fc0", "fc1"))
        assert predicted(HALF, dict(zip(("fc0", "fc1"), kept[at_least], strict=True))) >= at_least - 1e-9
    # Four neurons of fc0 cost nothing, two more cost 0.01 each, the next 0.44; each neuron of fc1 costs 0.1.
    assert kept == {0.9: (4, 8), 0.889: (3, 8), 0.88: (2, 8), 0.875: (2, 8), 0.79: (2, 8), 0.6: (2, 6)}


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(["functional", "residual", "dense", "maxouts"]), st.integers(0, 99), st.floats(0, 0.9))
def test_the_predicted_accuracy_is_met_and_a_lower_limit_removes_more(name, seed, at_least):
    graph, found = seen(name)
    curves = drawn_sensitivity(found, seed)
    plans = [propose(graph, found, Accuracy(limit), sensitivity=curves) for limit in (at_least, at_least / 2)]
    kept = {layer: found[layer].width - len(neurons) for layer, neurons in plans[0].items()}
    assert predicted(curves, kept) >= at_least - 1e-9
    assert all(set(neurons) <= set(plans[1][layer]) for layer, neurons in plans[0].items())


@pytest.mark.parametrize("name", sorted(NETS))
@pytest.mark.parametrize("limit", [0.0, 0.3, 0.6, 1.0])
def test_no_layer_above_is_the_rule_absolute(name, limit):
    graph, found = seen(name)
    plan = propose(graph, found, NoLayerAbove(limit))
    by_rule = make_plan(found, Absolute(limit))
    assert dict(plan) == {
        layer: tuple(neurons)
        for layer, neurons in keep_one_per_layer(graph, by_rule, lambda n, i: float(found[n].apoz[i])).items()
    }


@pytest.mark.parametrize("name", ["conv_norm_relu", "residual", "dense", "maxouts", "over_positions"])
@pytest.mark.parametrize("criterion", ["apoz", "l1"])
def test_the_step_of_a_spec_chooses_the_same_neurons(name, criterion):
    from trimcore.scoring.criteria import scores

    graph, found = seen(name)
    plan = propose(graph, found, Smaller(1.6), scores=scores(criterion, found, graph))
    step = parse({"step": [as_step(plan, found, criterion)]}).step[0]
    origins = {layer: list(range(graph.layers[layer].width)) for layer in graph.layers}
    chosen = choose_neurons(step, graph, found, {}, origins, seed=0)
    assert dict(chosen) == {layer: neurons for layer, neurons in plan.items() if neurons}
    assert step.criterion == criterion
    assert all(step.rule_for(layer).value == found[layer].width - len(chosen[layer]) for layer in chosen)


def test_an_empty_plan_cannot_become_a_step():
    graph, found = perceptron(4, 4, 2)
    plan = propose(graph, found, Smaller(1))
    assert plan.total == 0
    with pytest.raises(SpecError, match="removes nothing"):
        as_step(plan, found)


@pytest.mark.parametrize(
    ("target", "how", "message"),
    [
        (Smaller(0.5), {}, "Smaller times = 0.5: it must be at least 1"),
        (LessWork(math.nan), {}, "LessWork times = nan"), (LessWork(math.inf), {}, "LessWork times = inf"),
        (NoLayerAbove(1.2), {}, "NoLayerAbove apoz = 1.2: it must be a share from 0 to 1"),
        (Accuracy(98), {"sensitivity": HALF}, "Accuracy at_least = 98: it must be a share"),
        (Accuracy(0.5), {}, "needs a sensitivity"),
        (Accuracy(0.95), {"sensitivity": HALF}, "accuracy 0.95 is impossible: the whole network has 0.9"),
        (NoLayerAbove(0.5), {"scores": {}}, "only works with APoZ"), (Smaller(2), {"least": 0}, "least = 0"),
        (Smaller(2), {"layers": ["fc2"]}, "unknown or untrimmable layer 'fc2'; trimmable are fc0, fc1"),
        (Smaller(2), {"sensitivity": Sensitivity(1, 0.9, [Point("fc0", 1.0, 8, 0.9)])}, "'fc1' was not measured"),
        (Smaller(2), {"sensitivity": Sensitivity(1, 0.9, [Point("fc0", 1.0, 7, 0.9)])},
         "layer 'fc0' has 8 neurons, but its sensitivity was measured at 7"),
    ],
)  # fmt: skip
def test_invalid_targets_are_refused(target, how, message):
    graph, found = perceptron(8, 8, 8, 2)
    with pytest.raises(SpecError, match=message):
        propose(graph, found, target, **how)
