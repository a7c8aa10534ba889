"""The rule `smaller`: by hand, met tightly, the same in the preview and by surgery. Retraining settings per step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trimcore.nets import NETS
from tests.trimcore.planning.test_preview import EXAMPLE, WIDTHS, seen_of, steps
from tests.trimcore.planning.test_targets import drawn_scores, last_of_each_layer, perceptron, seen
from tests.trimcore.training.runs import UNTRAINED, carry_out, cuts, of_kind, step
from trimcore import models
from trimcore.errors import SpecError
from trimcore.graph.costs import cost, cost_of
from trimcore.graph.tracing import trace
from trimcore.planning.choice import choose
from trimcore.planning.preview import preview
from trimcore.planning.ranking import as_plan, ranked, times_smaller
from trimcore.planning.selection import choose_neurons
from trimcore.spec import Step, loads
from trimcore.spec.rules import make_rule
from trimcore.surgery.cut import prune
from trimcore.training.prepare import blank


def all_ranked(graph, found, scores) -> dict:
    return {n: ranked(graph.layers[n].neurons, scores[n], found[n].candidates) for n in found.layers}


def test_smaller_by_hand():
    graph, found = perceptron(10, 4, 2, 5)  # 44 + 10 + 15 = 69 parameters
    scores = {"fc0": torch.tensor([0.1, 0.9, 0.5, 0.5]), "fc1": torch.tensor([0.5, 0.7])}
    # Harm is the share of a normal distribution above the z-score, divided by the width squared and by the parameters
    # that a neuron saves at first, 13 and 10. fc0: 0.079 / 16 / 13 = 0.00038 for neuron 1, 0.5 / 16 / 13 = 0.0024 for 2
    # and 3, more for 0 (which stays). fc1: 0.159 / 4 / 10 = 0.0040 for neuron 1. The parameters fall to 56, 43, 30, and
    # then by 1 + 1 + 5 to 23.
    order = [("fc0", 1), ("fc0", 2), ("fc0", 3), ("fc1", 1)]
    for parameters, count in ((68.9, 1), (56, 1), (55.9, 2), (43, 2), (42, 3), (30, 3), (29, 4), (23, 4), (5, 4)):
        removals = times_smaller(graph, all_ranked(graph, found, scores), 69 / parameters - 1e-12)
        assert [(name, i) for one in removals for name, own in one.neurons.items() for i in own] == order[:count]
    made = as_plan(all_ranked(graph, found, scores), removals[:2], "smaller")
    assert {name: (own.cut, own.rule) for name, own in made.layers.items()} == {
        "fc0": ((1, 2), "smaller"), "fc1": ((), "smaller"),
    }  # fmt: skip
    assert made.layers["fc0"].threshold == pytest.approx(0.5)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(NETS)), st.floats(1.01, 5), st.integers(0, 10**6))
def test_the_target_is_met_tightly_or_everything_removable_is_removed(name, times, seed):
    graph, found = seen(name)
    scores = drawn_scores(graph, found, seed)
    plan = as_plan(all_ranked(graph, found, scores), times_smaller(graph, all_ranked(graph, found, scores), times))
    left, whole = cost_of(graph, plan), cost_of(graph).parameters
    if left.parameters * times <= whole:
        fewer = last_of_each_layer(graph, plan, scores)
        assert all(cost_of(graph, less).parameters * times > whole for less in fewer)
    else:  # in each set of layers that are pruned together, one layer has a single neuron left
        assert all(
            any(left.widths[n] == 1 for n, other in graph.layers.items() if set(other.neurons.tolist()) & groups)
            for groups in ({*graph.layers[n].neurons[list(found[n].candidates)].tolist()} for n in found.layers)
            if groups
        )
    assert all(width >= 1 for n, width in left.widths.items() if graph.layers.get(n) and graph.layers[n].width)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.floats(1.1, 3), st.integers(1, 3), st.sampled_from([["all"], ["conv2", "fc1"]]))
def test_the_preview_matches_surgery(seed, times, iterations, layers):
    """Every iteration uses the scores of the remaining neurons of a network that was really cut."""
    shown = seen_of(seed)
    asked = steps({"layers": layers, "rule": "smaller", "value": times, "iterations": iterations})
    stages = preview(blank("lenet5", 10, 1, 28), shown, asked)
    network, left = models.build("lenet5"), {name: list(range(width)) for name, width in WIDTHS.items()}
    for stage in stages[1:]:
        graph = trace(network, EXAMPLE)
        names = [*WIDTHS] if layers == ["all"] else layers
        scores = {n: torch.tensor([shown[n].apoz[i] for i in left[n]], dtype=torch.float64) for n in names}
        own = {n: ranked(graph.layers[n].neurons, scores[n], range(len(left[n]))) for n in names}
        plan = as_plan(own, times_smaller(graph, own, times))
        before, network = cost(network, EXAMPLE).parameters, prune(network, plan, EXAMPLE)
        left = {n: [x for k, x in enumerate(kept) if k not in plan.get(n, ())] for n, kept in left.items()}
        assert cost(network, EXAMPLE) == stage.cost
        assert stage.cut == {n: len(plan[n]) for n in names}
        assert stage.cost.parameters * times <= before
    assert len(stages) == 1 + iterations


def test_equal_layers_lose_equally_and_wide_layers_lose_first():
    graph, found = perceptron(30, 30, 30, 30)
    scores = {name: torch.linspace(0, 1, 30) for name in found.layers}
    sizes = [len(own) for own in as_plan(all_ranked(graph, found, scores), times_smaller(
        graph, all_ranked(graph, found, scores), 2.0)).values()]  # fmt: skip
    assert abs(sizes[0] - sizes[1]) <= 1
    graph, found = perceptron(8, 64, 8, 8)
    scores = {name: torch.linspace(0, 1, layer.width) for name, layer in found.layers.items()}
    plan = as_plan(all_ranked(graph, found, scores), times_smaller(graph, all_ranked(graph, found, scores), 2.0))
    assert len(plan["fc0"]) > 30
    assert not plan["fc1"]


@pytest.mark.parametrize("criterion", ["apoz", "l1", "taylor", "random"])
def test_a_run_meets_the_factor_with_any_criterion(make_spec, criterion):
    asked = step("all", rule="smaller", value=1.7, iterations=3, criterion=criterion)
    events, _, _ = carry_out(make_spec(step=[asked], **UNTRAINED))
    sizes = [row["parameters"] for row in of_kind(events, "iteration")]
    assert len(sizes) == 4
    assert all(1.7 <= before / after < 1.9 for before, after in zip(sizes, sizes[1:], strict=False))
    told = of_kind(events, "pruned")[0]["layers"]
    assert {(own["rule"], own["value"], own["criterion"]) for own in told.values()} == {("smaller", 1.7, criterion)}


def test_never_cut_neurons_stay_and_others_are_removed_instead(make_spec):
    free = carry_out(make_spec(step=[step("all", rule="smaller", value=2.0)], **UNTRAINED))[0]
    never = {"conv2": cuts(free, "conv2")[0][:2], "fc1": cuts(free, "fc1")[0][:20]}
    kept = carry_out(make_spec(step=[step("all", rule="smaller", value=2.0, never_cut=never)], **UNTRAINED))[0]
    for layer, neurons in never.items():
        assert neurons
        assert not set(cuts(kept, layer)[0]) & set(neurons)
    assert of_kind(kept, "iteration")[0]["parameters"] >= 2 * of_kind(kept, "iteration")[1]["parameters"]


def test_an_unreachable_factor_ends_at_the_smallest_network(make_spec):
    asked = step("conv2", "fc1", rule="smaller", value=1000.0, iterations=3)
    events, _, _ = carry_out(make_spec(step=[asked], **UNTRAINED))
    rows = of_kind(events, "iteration")
    assert [(row["widths"]["conv2"], row["widths"]["fc1"]) for row in rows] == [(50, 500), (1, 1)]
    assert "nothing more to remove" in of_kind(events, "note")[-1]["text"]


@pytest.mark.parametrize(("text", "message"), [
    ("rule = 'smaller'\nvalue = 1.0", "rule 'smaller' takes a factor above 1 and up to 1,000,000, not 1.0"),
    ("rule = 'smaller'\nvalue = 1e9", "rule 'smaller' takes a factor above 1 and up to 1,000,000, not 1000000000.0"),
    ("rule = 'smaller'\nvalue = 2.0\n[step.layer.fc1]\nrule = 'keep'\nvalue = 3",
     "rule 'smaller' applies to all layers of a step, but fc1 has rule 'keep'"),
    ("rule = 'keep'\nvalue = 3\n[step.layer.fc1]\nrule = 'smaller'\nvalue = 2.0", "'smaller' applies to all layers"),
    ("rule = 'smaller'\nvalue = 2.0\n[step.layer.fc1]\nrule = 'smaller'\nvalue = 3.0",
     "rule 'smaller' takes one value for all layers, but fc1 has 3"),
])  # fmt: skip
def test_invalid_uses_of_smaller_are_refused(text, message):
    with pytest.raises(SpecError, match=message):
        loads(f'[[step]]\nlayers = ["conv2", "fc1"]\n{text}')


def test_smaller_cannot_be_applied_to_a_single_layer():
    with pytest.raises(SpecError, match="rule 'smaller' chooses among the neurons of all layers"):
        choose(torch.rand(4), make_rule("smaller", 2.0))


def test_only_candidates_are_removed():
    """Frozen neurons stay, for example in a residual sum with a layer that reaches no activation."""
    for name in NETS:
        graph, found = seen(name)
        if not graph.trimmable():
            continue
        origins = {n: list(range(layer.width)) for n, layer in graph.layers.items()}
        plan = choose_neurons(Step(layers=["all"], rule="smaller", value=1.5), graph, found, {}, origins, 0)
        assert all(set(neurons) <= set(graph.candidates(n)) for n, neurons in plan.items())


# --- retraining settings per step ---


def test_a_step_can_have_its_own_retraining_settings(make_spec):
    steps = [step("conv2"), step("conv2", iterations=2, retrain={"epochs": 3, "lr": 0.001, "batch_size": 40})]
    spec = make_spec(step=steps, control={"scratch": True})
    events, _, _ = carry_out(spec)
    done = [(e["phase"], e["iteration"], e["epoch"], e["epochs"]) for e in of_kind(events, "epoch")]
    assert [d for d in done if d[0] == "retrain"] == [
        ("retrain", 1, 1, 1), *(("retrain", iteration, epoch, 3) for iteration in (2, 3) for epoch in (1, 2, 3)),
    ]  # fmt: skip
    assert of_kind(events, "control")[0]["epochs"] == 2 + 1 + 2 * 3  # all epochs of the trimmed network
    assert of_kind(events, "started")[0]["epochs"] == 2 * (2 + 1 + 2 * 3)
    rates = {e["iteration"]: e["lr"] for e in of_kind(events, "epoch") if e["phase"] == "retrain" and e["epoch"] == 1}
    assert rates[1] > 0.001 >= rates[2] == rates[3]


def test_a_step_overrides_only_the_settings_that_it_names():
    found = loads("[retrain]\nlr = 0.5\nepochs = 7\nkeep_momentum = true\n[[step]]\nlayers = ['all']\niterations = 2\n"
                  "[[step]]\nlayers = ['all']\n[step.retrain]\nepochs = 0\naugment = 'affine'")  # fmt: skip
    first, second = map(found.retrain_after, found.step)
    assert first == found.retrain
    assert second == found.retrain.model_copy(update={"epochs": 0, "augment": "affine"})
    assert found.retrain_epochs == 2 * 7 + 0
    with pytest.raises(SpecError, match=r"unknown key 'step.0.retrain.speed'; expected one of epochs, batch_size, "):
        loads("[[step]]\nlayers = ['all']\n[step.retrain]\nspeed = 3")


def test_kept_momentum_uses_the_settings_of_the_step(make_spec):
    """For any kind of step, the carried-over optimizer uses the weight decay of the new step."""
    weights = {"layers": ["all"], "rule": "sparsity", "value": 0.5, "retrain": {"weight_decay": 0.25}}
    steps = [step("conv2"), step("conv2", retrain={"weight_decay": 0.125}), weights]
    _, snapshots, _ = carry_out(make_spec(step=steps, retrain={"keep_momentum": True}))
    last = {content["iteration"]: content["optimizer"] for _, content in snapshots if content["phase"] == "retrain"}
    assert {i: own["param_groups"][0]["weight_decay"] for i, own in last.items()} == {1: 5e-4, 2: 0.125, 3: 0.25}
