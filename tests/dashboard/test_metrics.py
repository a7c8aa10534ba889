"""Pages and the report of runs that are judged by another metric than accuracy."""

import shutil

import pytest

from dashboard.compare import frontier
from dashboard.compare.verdict import verdict
from dashboard.report import html_report
from dashboard.widgets import guide, notices
from tests.dashboard.compare.test_verdict import points
from tests.dashboard.drafts import FC1_STEPS
from tests.dashboard.fakes import HALVED, fake_run, judge_by, recorded
from tests.dashboard.pages import metrics, open_link, page, texts
from trimcore import tables
from trimcore.tables import Metric

MIOU, MAE = Metric("mIoU"), Metric("MAE", higher_is_better=False, percent=False)


@pytest.fixture
def judged(runs_folder):
    """Makes a run that is 2.5 times smaller, judged by a metric."""

    def make(metric: Metric, before: float, after: float, others: dict | None = None, **values):
        made = runs_folder / fake_run(runs_folder, {"step": FC1_STEPS, **values}, HALVED, [before, after])
        judge_by(made, metric, others and {metric.name: after, **others})
        return made

    return make


def test_the_best_run_is_the_one_with_the_lowest_error():
    rows = {"APoZ": [(1, 0.3), (2, 0.41)], "L1": [(1, 0.3), (2, 0.38)]}
    assert verdict(points(**rows), MAE) == "At 2.0×: APoZ 0.41, L1 0.38. L1 is ahead (one seed each)."
    assert verdict(points(**rows), MIOU) == "At 2.0×: APoZ 41.0 %, L1 38.0 %. APoZ is ahead (one seed each)."


@pytest.mark.parametrize(
    ("metric", "values", "result", "cells"),
    [
        (MIOU, (0.72, 0.6543), "65.43%", ["72.00", "65.43"]),
        (MAE, (0.3, 0.3125), "0.3125", ["0.3", "0.3125"]),
    ],
)
def test_pages_and_report_have_the_name_and_unit_of_the_metric(judged, metric, values, result, cells):
    made = judged(metric, *values, {"pixel accuracy": 0.93306})
    events = recorded(made)
    assert notices.result_text(events) == f"2.50× smaller at {result} test {metric.name}"
    lower = not metric.higher_is_better
    for name in ("run", "report"):
        app = page(name, run=made.name)
        assert metrics(app)[f"Test {metric.name}"] == result
        table = next(table.value for table in app.dataframe if "configuration" in table.value)
        column = f"final {metric.name}{' %' if metric.percent else ''}"
        assert [float(cell) for cell in cells] == table[column].tolist()
        assert "pixel accuracy 0.9331" in texts(app)
        assert ("Lower is better." in texts(app)) == lower
    report = html_report.report(made)
    assert all(f"<td>{cell}</td>" in report for cell in cells)
    assert f"{metric.name} is measured on the test split.{' Lower is better.' if lower else ''}" in report
    assert "pixel accuracy 0.9331." in report
    assert f"Each vertical {'rise' if lower else 'drop'} is a cut." in report
    headings = [heading for _, heading, *_ in html_report.figures(events, {})]
    assert headings[:2] == [f"Validation {metric.name} by epoch", f"Test {metric.name} by compression"]


def test_runs_of_different_metrics_are_not_on_one_axis(judged):
    made = [judged(MIOU, 0.7, 0.6, name="one"), judged(MAE, 0.3, 0.4, name="two")]
    frames = {own.name: tables.iterations(recorded(own)).assign(run=own.name) for own in made}
    grouped = frontier.by_metric(frames)
    assert {metric: set(own.run) for metric, own in grouped.items()} == {MIOU: {made[0].name}, MAE: {made[1].name}}
    app = open_link("compare", runs="~".join(own.name for own in made))
    assert "which cannot share an axis" in texts(app)
    shown = app.dataframe[0].value
    assert dict(zip(shown.run.str[:3], shown["test metric"], strict=True)) == {"one": "mIoU 60.00%", "two": "MAE 0.4"}
    assert "do not compare them: MAE, mIoU in %" in texts(app)
    shutil.rmtree(made[0])
    app = page("compare")
    assert app.dataframe[0].value["test MAE"].tolist() == [0.4]
    assert "##### Test MAE by compression" in texts(app)
    assert "which cannot share an axis" not in texts(app)


def test_the_spread_over_seeds_is_in_the_unit_of_the_metric(judged):
    for seed, error in enumerate([0.3, 0.4, 0.5]):
        judged(MAE, 0.2, error, seed=seed)
    table = next(table.value for table in page("compare").dataframe if "measure" in table.value).set_index("measure")
    assert table.loc["test MAE"].tolist() == [3, "0.4", "0.1", "0.3", "0.5"]


def test_the_guide_says_which_way_the_metric_moves():
    progress = {"state": "running", "active": True, "profiled": True, "cuts": True}
    assert guide.advice("run", guide.Progress(**progress, metric=MAE)).startswith("MAE rises with each cut")
    assert guide.advice("run", guide.Progress(**progress)).startswith("Accuracy drops with each cut")


def test_profiles_of_other_tasks_say_why_classes_and_images_are_missing(judged):
    made = judged(MAE, 0.3, 0.4, task="regression", base={"augment": "none"}, retrain={"augment": "none"}).name
    app = page("profile", run=made, **{f"classes_{made}": True})
    assert "Only a classification has classes to compare." in texts(app)
    next(widget for widget in app.number_input if widget.label == "Inspect neuron").set_value(0).run()
    assert not app.exception
    assert "A neuron is inspected on the images of a classification." in texts(app)
    assert not app.warning
