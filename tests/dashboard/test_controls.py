"""The same plan ranked by other criteria: what is launched, and how the runs are set side by side."""

from typing import get_args

import pandas as pd
import pytest

from dashboard import rivals
from dashboard.criteria import LABELS, NAMES, fitting, ranked_by, ranking
from tests.dashboard.fakes import fake_run
from tests.dashboard.test_pages import field, page, texts
from trimcore import spec
from trimcore.jobs import control
from trimcore.scoring.criteria import CRITERIA
from trimcore.spec import IN_UNITS, CriterionName

STEPS = [{"layers": ["conv2"], "value": 0.5}, {"layers": ["fc1"], "rule": "keep", "value": 9.0, "iterations": 2}]
CONTROLS = ["L1", "L2", "mean activation", "Taylor", "random"]
WIDTHS = [{"conv1": 20, "conv2": 50, "fc1": 500}, {"conv1": 20, "conv2": 50, "fc1": 215}]  # 2.0 times
SMALLER = [*WIDTHS, {"conv1": 20, "conv2": 50, "fc1": 120}]  # 3.0 times


@pytest.fixture
def launched(monkeypatch) -> list[spec.Spec]:
    found = []
    monkeypatch.setattr(control, "launch", lambda asked, folder: found.append(asked) or f"run-{len(found)}")
    return found


def plan_of(steps: list[dict], **values) -> dict:
    return spec.parse({"step": steps, **values}).model_dump(exclude_none=True)


def others(app):
    return next(box for box in app.multiselect if box.label == "Also run this plan ranked by")


def test_every_criterion_has_its_names():
    assert list(NAMES) == list(LABELS)
    assert set(NAMES) == set(get_args(CriterionName))
    assert fitting("fraction") == list(CRITERIA)
    assert (fitting("maxout"), fitting("quality")) == (list(IN_UNITS), ["magnitude"])


def test_nothing_more_is_run_unless_it_is_asked_for(launched):
    app = page("plan", draft=plan_of(STEPS))
    assert (others(app).options, others(app).value) == (CONTROLS, [])
    app.button(key="launch").click().run()
    assert len(launched) == 1


def test_each_control_is_a_run_of_the_same_plan(launched, runs_folder, monkeypatch):
    known = fake_run(runs_folder, {"step": STEPS}, WIDTHS, [0.9, 0.9])
    named = iter([known, "another", "a third"])
    monkeypatch.setattr(control, "launch", lambda asked, folder: launched.append(asked) or next(named))
    app = page("plan", draft=plan_of(STEPS, name="mine", seed=5))
    others(app).set_value(["l1", "random"]).run()
    assert "the seed is the same" in texts(app)
    launch = app.button(key="launch")
    assert launch.label.startswith("Launch 3 runs")
    launch.click().run()
    assert not app.exception
    assert [run.name for run in launched] == ["mine", "mine by L1", "mine by random"]
    assert [[step.criterion for step in run.step] for run in launched] == [["apoz"] * 2, ["l1"] * 2, ["random"] * 2]
    assert rivals.differ_only_in_criterion(launched)
    assert app.session_state.run == known, "the plan's own run is shown"


def test_they_all_begin_from_the_same_iteration(launched, runs_folder):
    run_id = fake_run(runs_folder, {"step": STEPS}, WIDTHS, [0.9, 0.9])
    app = page("plan", run=run_id, draft=plan_of(STEPS))
    others(app).set_value(["taylor"]).run()
    assert "begins with the same weights" in texts(app)
    app.button(key="launch").click().run()
    assert [run.parent for run in launched] == [spec.Parent(run=run_id, iteration=0)] * 2


@pytest.mark.parametrize("where", [{"rule": "absolute"}, {"layer": {"fc1": {"rule": "absolute", "value": 0.5}}}])
def test_a_plan_that_compares_apoz_itself_has_no_controls(launched, where):
    app = page("plan", draft=plan_of([{"layers": ["fc1"], "value": 0.9, **where}]))
    assert others(app).disabled
    assert "compares APoZ itself" in texts(app)


def test_a_plan_by_something_else_can_be_set_against_apoz():
    app = page("plan", draft=plan_of([{"layers": ["fc1"], "criterion": "random"}]))
    assert others(app).options == ["APoZ", *CONTROLS[:-1]]


def test_names_stay_short_enough():
    (named,) = ranked_by(plan_of(STEPS, name="n" * 80), ["mean-activation"])
    assert spec.parse(named).name == "n" * 61 + " by mean activation"
    assert ranked_by(plan_of(STEPS), ["l2"])[0]["name"] == "lenet5 by L2"


def test_only_runs_that_differ_in_nothing_else_are_rivals():
    one, two = (spec.parse(plan_of([{**s, "criterion": name} for s in STEPS], name=name)) for name in ("apoz", "l1"))
    assert (ranking(one), ranking(spec.Spec())) == ("APoZ", "")
    assert rivals.differ_only_in_criterion([one, two])
    assert not rivals.differ_only_in_criterion([one])
    assert not rivals.differ_only_in_criterion([one, one])
    assert not rivals.differ_only_in_criterion([one, two.model_copy(update={"seed": 1})])


def test_what_compares_with_the_newest_run():
    one, two = (spec.parse(plan_of([{**s, "criterion": name} for s in STEPS])) for name in ("apoz", "l1"))
    reseeded, other = one.model_copy(update={"seed": 1}), one.model_copy(update={"data": "mnist"})
    assert rivals.like_the_first({"a": one, "b": other, "c": reseeded, "d": two}) == ["a", "d"]
    assert rivals.like_the_first({"a": one, "b": other, "c": reseeded}) == ["a", "c"]
    assert rivals.like_the_first({}) == []


def points(**runs: list[tuple[float, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [(run, number, *point) for run, rows in runs.items() for number, point in enumerate(rows)],
        columns=["run", "iteration", "compression", "accuracy_final"],
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            {"APoZ": [(1, 0.99), (2.1, 0.984), (3, 0.9)], "L1": [(1, 0.99), (2.1, 0.986)]},
            "At 2.1×: APoZ 98.4 %, L1 98.6 %. L1 is ahead; one seed each.",
        ),
        (
            {"APoZ": [(1, 0.99), (1.5, 0.99), (2.4, 0.97)], "random": [(1, 0.99), (2.1, 0.96)]},
            "At 2.1×: APoZ 97.0 % (at 2.4×), random 96.0 %. APoZ is ahead; one seed each, and not all of one size.",
        ),
        (
            {"APoZ": [(1, 0.9), (2, 0.97)], "L1": [(1, 0.9), (2, 0.97)], "L2": [(1, 0.9), (2, 0.9)]},
            "At 2.0×: APoZ 97.0 %, L1 97.0 %, L2 90.0 %. APoZ and L1 are level; one seed each.",
        ),
        ({"APoZ": [(1, 0.99), (2, 0.98)], "L1": [(1, 0.99)]}, ""),
        ({"APoZ": [(1, 0.99), (2, 0.98)], "L1": [(1, float("nan"))]}, ""),
    ],
)
def test_who_is_ahead_at_the_smallest_size_that_all_have_reached(rows, said):
    assert rivals.verdict(points(**rows)) == said


def test_compare_names_the_criteria_and_who_is_ahead(runs_folder):
    for name, accuracies in (("apoz", [0.99, 0.97, 0.9]), ("l1", [0.99, 0.98])):
        steps = [{**step, "criterion": name} for step in STEPS]
        fake_run(runs_folder, {"step": steps, "name": name}, SMALLER[: len(accuracies)], accuracies)
    app = page("compare")
    assert set(app.dataframe[0].value.criterion) == {"APoZ", "L1"}
    assert "At 2.0×:" in texts(app)
    assert "L1 is ahead; one seed each." in texts(app)


@pytest.mark.parametrize("keep", [True, False])
def test_the_momentum_can_be_kept_over_a_cut(launched, keep):
    app = page("plan", draft=plan_of(STEPS, retrain={"keep_momentum": not keep}), settings=True)
    next(box for box in app.checkbox if box.label == "Keep the momentum over a cut").set_value(keep).run()
    app.button(key="launch").click().run()
    assert launched[0].retrain.keep_momentum is keep


def test_a_mistake_in_one_starts_none(launched):
    app = page("plan", draft=plan_of(STEPS))
    others(app).set_value(["l1"]).run()
    app.session_state.draft["device"] = "toaster"
    app.button(key="launch").click().run()
    assert not launched
    assert "toaster" in app.error[0].value


def test_single_layers_have_values_of_their_own(launched):
    own = {"conv1": {"rule": "keep", "value": 15.0}}
    draft = plan_of([{"layers": ["all"], "rule": "fraction", "value": 0.25, "layer": own}])
    app = page("plan", draft=draft)
    box = next(box for box in app.multiselect if box.label == "Layers with a value of their own")
    assert box.value == ["conv1"]
    box.set_value(["conv1", "fc1"]).run()
    field(app, "fraction for fc1").set_value(0.5).run()
    field(app, "Iterations").set_value(2).run()
    app.button(key="launch").click().run()
    rules = {name: (rule.rule, rule.value) for name, rule in launched[0].step[0].layer.items()}
    assert rules == {"conv1": ("keep", 15.0), "fc1": ("fraction", 0.5)}
    assert launched[0].step[0].layers == ["all"]
