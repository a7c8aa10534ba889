"""The comparison of runs that differ only in the criterion."""

import pandas as pd
import pytest

from dashboard.compare import verdict
from dashboard.widgets.criteria import criteria_text
from tests.dashboard.drafts import TWO_STEPS, plan_of
from tests.dashboard.fakes import fake_run
from tests.dashboard.pages import page, texts
from trimcore import spec

SMALLER = [{"conv1": 20, "conv2": 50, "fc1": width} for width in (500, 215, 120)]  # 1, 2 and 3 times


def test_specs_that_differ_only_in_the_criterion():
    plans = (plan_of([{**step, "criterion": name} for step in TWO_STEPS], name=name) for name in ("apoz", "l1"))
    one, two = map(spec.parse, plans)
    assert (criteria_text(one), criteria_text(spec.Spec())) == ("APoZ", "")
    assert verdict.differ_only_in_criterion([one, two])
    assert not verdict.differ_only_in_criterion([one])
    assert not verdict.differ_only_in_criterion([one, one])
    assert not verdict.differ_only_in_criterion([one, two.model_copy(update={"seed": 1})])


def test_runs_comparable_with_the_first():
    one, two = (spec.parse(plan_of([{**s, "criterion": name} for s in TWO_STEPS])) for name in ("apoz", "l1"))
    reseeded, other = one.model_copy(update={"seed": 1}), one.model_copy(update={"data": "mnist"})
    assert verdict.comparable_runs({"a": one, "b": other, "c": reseeded, "d": two}) == ["a", "d"]
    assert verdict.comparable_runs({"a": one, "b": other, "c": reseeded}) == ["a", "c"]
    assert verdict.comparable_runs({}) == []


def points(**runs: list[tuple[float, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [(run, number, *point) for run, rows in runs.items() for number, point in enumerate(rows)],
        columns=["run", "iteration", "compression", "metric_final"],
    )


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (
            {"APoZ": [(1, 0.99), (2.1, 0.984), (3, 0.9)], "L1": [(1, 0.99), (2.1, 0.986)]},
            "At 2.1×: APoZ 98.4 %, L1 98.6 %. L1 is ahead (one seed each).",
        ),
        (
            {"APoZ": [(1, 0.99), (1.5, 0.99), (2.4, 0.97)], "random": [(1, 0.99), (2.1, 0.96)]},
            "At 2.1×: APoZ 97.0 % (at 2.4×), random 96.0 %. APoZ is ahead (one seed each, at different sizes).",
        ),
        (
            {"APoZ": [(1, 0.9), (2, 0.97)], "L1": [(1, 0.9), (2, 0.97)], "L2": [(1, 0.9), (2, 0.9)]},
            "At 2.0×: APoZ 97.0 %, L1 97.0 %, L2 90.0 %. APoZ and L1 are tied (one seed each).",
        ),
        ({"APoZ": [(1, 0.99), (2, 0.98)], "L1": [(1, 0.99)]}, ""),
        ({"APoZ": [(1, 0.99), (2, 0.98)], "L1": [(1, float("nan"))]}, ""),
    ],
)
def test_the_best_run_at_the_smallest_common_size(rows, text):
    assert verdict.verdict(points(**rows)) == text


def test_the_page_names_the_criteria_and_the_best_one(runs_folder):
    for name, accuracies in (("apoz", [0.99, 0.97, 0.9]), ("l1", [0.99, 0.98])):
        steps = [{**step, "criterion": name} for step in TWO_STEPS]
        fake_run(runs_folder, {"step": steps, "name": name}, SMALLER[: len(accuracies)], accuracies)
    app = page("compare")
    assert set(app.dataframe[0].value.criterion) == {"APoZ", "L1"}
    assert "At 2.0×:" in texts(app)
    assert "L1 is ahead (one seed each)." in texts(app)
