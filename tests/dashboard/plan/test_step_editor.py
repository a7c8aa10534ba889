"""The widgets of a step: rules, layers, criteria, own values."""

import pytest

from tests.dashboard.drafts import SMALLER_STEP, UNIT_STEPS, draft_from, offered_rules, plan_for, plan_of, unit_draft
from tests.dashboard.networks import DEPTH, NAMES
from tests.dashboard.pages import click, field, metrics, page, segmented, texts
from trimcore import spec

VALUE = "Value: remove neurons of all layers until the network has this many times fewer parameters"


def test_many_layers_have_a_toggle_and_a_searchable_list(deep, launched):
    app = page("plan", draft=plan_for(deep, ["all"]))
    assert not app.pills
    (every,) = [toggle for toggle in app.toggle if toggle.label == f"All {DEPTH} layers"]
    assert every.value
    every.set_value(False).run()
    (picked,) = [box for box in app.multiselect if box.label == "Layers"]
    assert (picked.options, picked.value) == (NAMES, [])
    assert "at least one layer" in texts(app)
    picked.set_value(["7.0", "3.0"]).run()
    app.button(key="launch").click().run()
    assert not app.exception
    assert launched[0].step[0].layers == ["3.0", "7.0"]


def test_all_layers_can_be_chosen_again(deep, launched):
    app = page("plan", draft=plan_for(deep, ["3.0", "7.0"]))
    (every,) = [toggle for toggle in app.toggle if toggle.label == f"All {DEPTH} layers"]
    assert not every.value
    every.set_value(True).run()
    app.button(key="launch").click().run()
    assert launched[0].step[0].layers == ["all"]


def test_single_layers_can_have_their_own_values(launched):
    own = {"conv1": {"rule": "keep", "value": 15.0}}
    draft = plan_of([{"layers": ["all"], "rule": "fraction", "value": 0.25, "layer": own}])
    app = page("plan", draft=draft)
    box = next(box for box in app.multiselect if box.label == "Layers with a separate value")
    assert box.value == ["conv1"]
    box.set_value(["conv1", "fc1"]).run()
    field(app, "fraction for fc1").set_value(0.5).run()
    field(app, "Iterations").set_value(2).run()
    app.button(key="launch").click().run()
    rules = {name: (rule.rule, rule.value) for name, rule in launched[0].step[0].layer.items()}
    assert rules == {"conv1": ("keep", 15.0), "fc1": ("fraction", 0.5)}
    assert launched[0].step[0].layers == ["all"]


def test_the_shrink_factor_has_one_value_for_all_layers(launched):
    app = page("plan", draft=plan_of([{"layers": ["all"], "rule": "fraction", "value": 0.25}]))
    assert "Values for individual layers" in [expander.label for expander in app.expander]
    segmented(app, "Rule to remove neurons").set_value("smaller").run()
    field(app, VALUE).set_value(3.0).run()
    assert not app.exception
    assert "Values for individual layers" not in [expander.label for expander in app.expander]
    app.button(key="launch").click().run()
    (step,) = launched[0].step
    assert (step.rule, step.value, step.layer, step.layers, step.retrain) == ("smaller", 3.0, {}, ["all"], None)


def test_the_preview_reaches_the_shrink_factor(copy_of):
    own = copy_of()
    app = page("plan", run=own.name, draft=draft_from(own, SMALLER_STEP))
    (compression,) = [metric.value for metric in app.metric if metric.label == "Compression"]
    assert 4.0 <= float(compression.rstrip("×")) < 4.4


@pytest.mark.parametrize("epochs", [30, None])
def test_a_step_can_have_its_own_epochs(launched, epochs):
    app = page("plan", draft=plan_of([{**SMALLER_STEP, "retrain": {"epochs": 7, "lr": 0.125}}]))
    box = field(app, "Retraining epochs, this step")
    assert box.value == 7
    box.set_value(epochs).run()
    app.button(key="launch").click().run()
    own = launched[0].step[0].retrain
    assert (own.epochs, own.lr) == (epochs, 0.125)


def test_widths_can_be_rounded(launched):
    """LeNet-5: 35 neurons of conv2 and 350 of fc1 would stay. In multiples of 32, it is all 50 and 352."""
    step = {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.3, "iterations": 1}
    app = page("plan", draft=plan_of([step]))
    field(app, "Round widths to multiples of").set_value(32).run()
    (left,) = [metric.value for metric in app.metric if metric.label == "Parameters"]
    assert left == f"{20 * 26 + 50 * 501 + 352 * 801 + 10 * 353:,}"
    app.button(key="launch").click().run()
    assert launched[0].step[0].multiple == 32


def test_a_weight_step_can_be_added_and_edited(launched):
    app = click(page("plan", draft=unit_draft(UNIT_STEPS[:1])), "Add weight pruning")
    assert [step["rule"] for step in app.session_state.draft["step"]] == ["maxout", "sparsity"]
    segmented(app, "Edit").set_value(app.session_state.step_ids[1]).run()
    assert list(app.pills[0].options) == ["conv1", "conv2", "fc1", "fc2"], "including the output"
    assert field(app, "Criterion").options == ["magnitude of weights"]
    rule = segmented(app, "Rule to prune weights")
    assert len(rule.options) == 3
    assert metrics(app)["Non-zero parameters"] != "—"
    rule.set_value("quality").run()
    assert metrics(app)["Non-zero parameters"] == "—", "it depends on the weights"
    app.pills[0].set_value(["fc1", "fc2"]).run()
    app.button(key="launch").click().run()
    assert not app.exception
    step = launched[0].step[1]
    assert (step.rule, step.value, step.criterion, step.layers) == ("quality", 1.0, "magnitude", ["fc1", "fc2"])


def test_the_type_of_a_step_can_be_changed_and_restored(launched):
    step = {"layers": ["conv2"], "rule": "count", "value": 5, "never_cut": {"conv2": [1]}}
    app = page("plan", draft=unit_draft([step]))
    for kind, rule, criterion in [("weights", "sparsity", "magnitude"), ("neurons", "count", "apoz")]:
        segmented(app, "Step type").set_value(kind).run()
        assert not app.exception
        (step,) = app.session_state.draft["step"]
        assert (step["rule"], step["criterion"]) == (rule, criterion)
    app.button(key="launch").click().run()
    assert (launched[0].step[0].rule, launched[0].step[0].value) == ("count", 5)


def test_the_unit_rule_is_offered_for_maxout_layers(launched):
    assert "maxout" not in offered_rules(page("plan", draft=spec.Spec(step=[spec.Step(layers=["fc1"])]).model_dump()))
    app = page("plan", draft=unit_draft([{"layers": ["conv2"], "rule": "count", "value": 5}]))
    segmented(app, "Rule to remove neurons").set_value("maxout").run()
    assert list(app.pills[0].options) == ["fc1"]
    app.pills[0].set_value(["fc1"]).run()
    choice = field(app, "Criterion")
    assert [text.partition(":")[0].split()[0] for text in choice.options] == ["relevance", "L1", "L2", "random"]
    choice.set_value("l2").run()
    app.button(key="launch").click().run()
    assert not app.exception
    assert (launched[0].step[0].rule, launched[0].step[0].criterion) == ("maxout", "l2")
