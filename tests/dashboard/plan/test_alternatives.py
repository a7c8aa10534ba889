"""The same plan with other criteria: what is offered and what is launched."""

import pytest

from dashboard.compare import verdict
from dashboard.plan.alternatives import with_criteria
from tests.dashboard.drafts import TWO_STEPS, UNIT_STEPS, plan_of, unit_draft
from tests.dashboard.fakes import fake_run
from tests.dashboard.pages import page, texts
from trimcore import spec
from trimcore.jobs import control

CONTROLS = ["L1", "L2", "mean activation", "Taylor", "random"]
WIDTHS = [{"conv1": 20, "conv2": 50, "fc1": 500}, {"conv1": 20, "conv2": 50, "fc1": 215}]  # 2.0 times


def others(app):
    return next(box for box in app.multiselect if box.label == "Also run this plan with")


def test_no_further_criterion_by_default(launched):
    app = page("plan", draft=plan_of(TWO_STEPS))
    assert (others(app).options, others(app).value) == (CONTROLS, [])
    app.button(key="launch").click().run()
    assert len(launched) == 1


def test_each_criterion_is_a_run_of_the_same_plan(launched, runs_folder, monkeypatch):
    known = fake_run(runs_folder, {"step": TWO_STEPS}, WIDTHS, [0.9, 0.9])
    named = iter([known, "another", "a third"])
    monkeypatch.setattr(control, "launch", lambda asked, folder: launched.append(asked) or next(named))
    app = page("plan", draft=plan_of(TWO_STEPS, name="mine", seed=5))
    others(app).set_value(["l1", "random"]).run()
    assert "the seed is the same" in texts(app)
    launch = app.button(key="launch")
    assert launch.label.startswith("Launch 3 runs")
    launch.click().run()
    assert not app.exception
    assert [run.name for run in launched] == ["mine", "mine by L1", "mine by random"]
    assert [[step.criterion for step in run.step] for run in launched] == [["apoz"] * 2, ["l1"] * 2, ["random"] * 2]
    assert verdict.differ_only_in_criterion(launched)
    assert app.session_state.run == known, "the run with the plan's own criterion is selected"


def test_all_runs_start_from_the_same_iteration(launched, runs_folder):
    run_id = fake_run(runs_folder, {"step": TWO_STEPS}, WIDTHS, [0.9, 0.9])
    app = page("plan", run=run_id, draft=plan_of(TWO_STEPS))
    others(app).set_value(["taylor"]).run()
    assert "start from the same weights" in texts(app)
    app.button(key="launch").click().run()
    assert [run.parent for run in launched] == [spec.Parent(run=run_id, iteration=0)] * 2


@pytest.mark.parametrize("where", [{"rule": "absolute"}, {"layer": {"fc1": {"rule": "absolute", "value": 0.5}}}])
def test_a_plan_with_the_rule_absolute_has_no_further_criteria(launched, where):
    app = page("plan", draft=plan_of([{"layers": ["fc1"], "value": 0.9, **where}]))
    assert others(app).disabled
    assert "works only with APoZ" in texts(app)


def test_a_plan_with_another_criterion_can_be_compared_with_apoz():
    app = page("plan", draft=plan_of([{"layers": ["fc1"], "criterion": "random"}]))
    assert others(app).options == ["APoZ", *CONTROLS[:-1]]


def test_names_are_shortened_to_the_limit():
    (named,) = with_criteria(plan_of(TWO_STEPS, name="n" * 80), ["mean-activation"])
    assert spec.parse(named).name == "n" * 61 + " by mean activation"
    assert with_criteria(plan_of(TWO_STEPS), ["l2"])[0]["name"] == "lenet5 by L2"


def test_an_error_in_one_spec_launches_none(launched):
    app = page("plan", draft=plan_of(TWO_STEPS))
    others(app).set_value(["l1"]).run()
    app.session_state.draft["device"] = "toaster"
    app.button(key="launch").click().run()
    assert not launched
    assert "toaster" in app.error[0].value


def offers(app):
    return [box for box in app.multiselect if box.label == "Also run this plan with"]


def test_criteria_are_offered_for_the_steps_that_can_use_them():
    (box,) = offers(page("plan", draft=unit_draft()))
    assert box.options == ["L1", "L2", "random"]
    assert not offers(page("plan", draft=unit_draft(UNIT_STEPS[1:]))), "weights have only one criterion"
    mixed = [{"layers": ["conv2"], "rule": "count", "value": 5}, *UNIT_STEPS]
    (box,) = offers(page("plan", draft=unit_draft(mixed)))
    assert box.options == ["L1", "L2", "mean activation", "Taylor", "random"], "the current criterion is not offered"
    taylor, random = (spec.parse(values) for values in with_criteria(unit_draft(mixed), ["taylor", "random"]))
    assert [step.criterion for step in taylor.step] == ["taylor", "relevance", "magnitude"]
    assert [step.criterion for step in random.step] == ["random", "random", "magnitude"]
