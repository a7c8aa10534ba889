"""The rule that makes the whole network smaller, a step's own retraining and a teacher, on the Plan page."""

import pytest

from dashboard.planning import opened
from tests.dashboard.test_before_cutting import draft_of, initial, made, run  # noqa: F401  (fixtures)
from tests.dashboard.test_controls import launched, plan_of  # noqa: F401
from tests.dashboard.test_pages import field, page
from trimcore import spec

VALUE = "Value: removes neurons, of all layers together, until the network has so many times fewer parameters"
STEP = {"layers": ["all"], "rule": "smaller", "value": 2.0, "iterations": 2}


def rules_of(app):
    return next(group for group in app.segmented_control if group.label == "Rule: remove neurons…")


def test_it_is_offered_for_a_plan_with_one_value_for_all_layers(launched):  # noqa: F811
    app = page("plan", draft=plan_of([{"layers": ["all"], "rule": "fraction", "value": 0.25}]))
    assert "Another value for single layers" in [expander.label for expander in app.expander]
    rules_of(app).set_value("smaller").run()
    field(app, VALUE).set_value(3.0).run()
    assert not app.exception
    assert "Another value for single layers" not in [expander.label for expander in app.expander]
    app.button(key="launch").click().run()
    (step,) = launched[0].step
    assert (step.rule, step.value, step.layer, step.layers, step.retrain) == ("smaller", 3.0, {}, ["all"], None)


def test_the_plan_on_paper_is_as_small(run):  # noqa: F811
    own = run()
    app = page("plan", run=own.name, draft=draft_of(own, STEP))
    (compression,) = [metric.value for metric in app.metric if metric.label == "Compression"]
    assert 4.0 <= float(compression.rstrip("×")) < 4.4


@pytest.mark.parametrize("criterion", ["apoz", "taylor", "random"])
def test_its_accuracy_before_retraining_is_that_of_the_loop(run, criterion):  # noqa: F811
    own = run()
    asked = draft_of(own, {**STEP, "iterations": 1, "criterion": criterion})
    assert [opened.shot(asked, (own.name, 0)).first] == initial(own, asked)


@pytest.mark.parametrize("epochs", [30, None])
def test_a_step_has_epochs_of_its_own_until_they_are_taken_back(launched, epochs):  # noqa: F811
    app = page("plan", draft=plan_of([{**STEP, "retrain": {"epochs": 7, "lr": 0.125}}]))
    box = field(app, "Epochs after its cuts")
    assert box.value == 7
    box.set_value(epochs).run()
    app.button(key="launch").click().run()
    own = launched[0].step[0].retrain
    assert (own.epochs, own.lr) == (epochs, 0.125)


def test_a_teacher_is_chosen_among_the_settings(launched):  # noqa: F811
    app = page("plan", draft=plan_of([STEP]), settings=True)
    assert field(app, "Temperature").disabled
    field(app, "Share that the first network teaches").set_value(0.5).run()
    field(app, "Temperature").set_value(2.0).run()
    app.button(key="launch").click().run()
    assert launched[0].distill == spec.Distill(weight=0.5, temperature=2.0)


def test_widths_can_be_rounded(launched):  # noqa: F811
    """LeNet-5: 35 neurons of conv2 would stay and 350 of fc1; in multiples of 32 all 50 stay, and 352."""
    step = {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.3, "iterations": 1}
    app = page("plan", draft=plan_of([step]))
    field(app, "Widths in multiples of").set_value(32).run()
    (left,) = [metric.value for metric in app.metric if metric.label == "Parameters"]
    assert left == f"{20 * 26 + 50 * 501 + 352 * 801 + 10 * 353:,}"
    app.button(key="launch").click().run()
    assert launched[0].step[0].multiple == 32
