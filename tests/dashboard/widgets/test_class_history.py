"""The accuracy of each class over the iterations, on the pages Run and Report."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dashboard.charts.class_history import class_history as chart
from dashboard.report import html_report
from dashboard.widgets import class_history
from tests.dashboard.charts.examples import CLASS_FINAL, CLASS_INITIAL
from tests.dashboard.fakes import fake_run
from tests.dashboard.pages import page, texts
from trimcore import runs, tables


@pytest.fixture
def run(runs_folder) -> Path:
    """A run with three iterations that has recorded nothing about its classes."""
    widths = [{"conv1": 20, "fc1": width} for width in (500, 400, 300)]
    return runs_folder / fake_run(runs_folder, {"name": "digits"}, widths, [0.95, 0.94, 0.9])


@pytest.fixture
def class_run(run) -> Path:
    """The same run with recorded classes. The test split has the classes in another order."""
    events = list(runs.read_events(run))
    events[0]["classes"] = ["*cat*", "dog", "cow"]
    for event in events:
        values = {"initial": CLASS_INITIAL, "iteration": CLASS_FINAL}.get(event["kind"])
        if values:
            own = values[event["iteration"]][:2]
            event["class_accuracy"] = {"validation": [*own, None], "test": [None, *own]}
            event["class_examples"] = {"validation": [50, 20, 0], "test": [0, 50, 40]}
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), "utf-8")
    return run


@pytest.fixture
def drawn(monkeypatch) -> list[pd.DataFrame]:
    """The arguments of the chart."""
    found = []

    def keep(given: pd.DataFrame):
        found.append(given)
        return chart(given)

    monkeypatch.setattr("dashboard.charts.class_history.class_history", keep)
    return found


def test_run_draws_the_validation_split_on_demand(class_run, drawn):
    app = page("run", run=class_run.name)
    assert [box.label for box in app.expander].count(class_history.HEADING) == 1
    assert drawn == []
    app = page("run", run=class_run.name, **{f"pay_{class_run.name}": True})
    (given,) = drawn
    assert set(given.split) == {"validation"}
    assert given.accuracy_final.dropna().tolist() == [1.0, 0.9, 0.98, 0.9, 0.99, 0.6]
    assert "In a class of 20 images, one image is 5 points." in texts(app)


def test_report_draws_the_test_split_and_offers_the_csv(class_run, drawn):
    app = page("report", run=class_run.name)
    (given,) = drawn
    assert set(given.split) == {"test"}
    assert class_history.HEADING in texts(app)
    assert "one image is 2.5 points" in texts(app)
    assert "classes.csv" in [button.label for button in app.get("download_button")]
    events = list(runs.read_events(class_run))
    figure = next(figure for key, _, figure, _ in html_report.figures(events, {}) if key == "classes")
    assert list(figure.layout.yaxis.ticktext) == ["cow", "dog"]


@pytest.mark.parametrize("name", ["run", "report"])
def test_an_old_run_has_no_section(run, name):
    app = page(name, run=run.name)
    assert class_history.HEADING not in texts(app) + str([box.label for box in app.expander])
    if name == "report":
        assert "classes.csv" not in [button.label for button in app.get("download_button")]
        assert "neurons.csv" in [button.label for button in app.get("download_button")]
        assert "classes" not in [key for key, *_ in html_report.figures(list(runs.read_events(run)), {})]


def test_there_is_nothing_to_compare_before_the_first_cut(class_run):
    events = [event for event in runs.read_events(class_run) if event.get("iteration", 0) == 0]
    assert len(tables.class_accuracy(events)) == 2 * 3
    assert class_history.of_split(events, "validation").empty
