"""The time of each layer on the page Model."""

import json

import pandas as pd
import pytest
import torch

from dashboard import charts
from dashboard.model import times
from tests.dashboard.pages import click, metrics, page, segmented, texts
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.models import build
from trimcore.timing.layer_times import LayerTime, LayerTimes

FOUND = LayerTimes(
    1, {"conv1": LayerTime(2.0, 1.0), "conv2": LayerTime(3.0, 1.0), "fc1": LayerTime(1.0, 0.5),
        "fc2": LayerTime(0.5, 0.0)}, 0.25, 0.75, 9.5,
)  # fmt: skip


@pytest.fixture
def timed(monkeypatch) -> list:
    """Every measurement that the page makes."""
    made = []

    def time_architecture(model, arguments, device, batch, removable) -> LayerTimes:
        made.append((model, arguments["num_classes"], str(device), batch))
        return FOUND

    monkeypatch.setattr(times, "time_architecture", time_architecture)
    return made


def test_times_stand_beside_parameters_and_macs(no_runs, timed):
    app = page("model")
    segmented(app, "Show the layers as").set_value("Time").run()
    assert "Fewer MACs are not always fewer milliseconds" in texts(app)
    assert "ms" not in app.dataframe[0].value
    click(app, "Measure the milliseconds (about ")
    assert timed == [("lenet5", 10, "cpu", 1)]
    shown = metrics(app)
    assert (shown["Milliseconds"], shown["Examples per second"], shown["Slowest layer"]) == ("9.5", "105", "40%")
    table = app.dataframe[0].value
    assert table.ms.tolist() == [2.0, 3.0, 1.0, 0.5]
    assert table.after_ms.tolist() == [1.0, 1.0, 0.5, 0.0]
    segmented(app, "Time of").set_value(128).run()
    assert any(button.label.startswith("Measure the milliseconds") for button in app.button), "another batch"
    segmented(app, "Time of").set_value(1).run()
    assert any(button.label == "Measure again" for button in app.button), "it was kept"
    assert len(timed) == 1


def heads(app) -> list[str]:
    """The titles of the columns of the drawing."""
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    return [note["text"] for note in figure["layout"]["annotations"]]


def test_the_drawing_shows_time_once_it_is_measured(no_runs, timed):
    app = page("model")
    segmented(app, "Show the layers as").set_value("Drawing").run()
    assert heads(app)[2] == "<b>MACs</b>"
    segmented(app, "Beside the parameters").set_value("Time").run()
    assert "has not been measured yet, so the drawing shows their MACs" in texts(app)
    assert heads(app)[2] == "<b>MACs</b>"
    click(app, "Measure the milliseconds (about ")
    assert "has not been measured" not in texts(app)
    assert heads(app)[2] == "<b>time</b>"
    assert app.dataframe[0].value.ms.tolist() == [2.0, 3.0, 1.0, 0.5]
    segmented(app, "Beside the parameters").set_value("MACs").run()
    assert heads(app)[2] == "<b>MACs</b>"
    segmented(app, "Show the layers as").set_value("Time").run()
    assert metrics(app)["Milliseconds"] == "9.5", "measured once for both views"
    assert len(timed) == 1


def test_what_comes_before_and_between_has_rows_of_its_own():
    cost = cost_of(trace(build("lenet5"), torch.zeros(1, 1, 28, 28)))
    found = times.rows(cost, FOUND)
    assert found.layer.tolist() == [times.BEFORE, "conv1", "conv2", "fc1", "fc2", times.OUTSIDE]
    assert found.ms.tolist() == [0.25, 2.0, 3.0, 1.0, 0.5, 0.75]


def test_a_real_measurement(no_runs):
    app = page("model")
    segmented(app, "Show the layers as").set_value("Time").run()
    click(app, "Measure the milliseconds")
    assert not app.error
    assert (app.dataframe[0].value.ms > 0).all()


def test_the_chart_compares_shares_of_macs_and_of_time():
    layers = pd.DataFrame({
        "layer": ["conv1", "conv2", times.OUTSIDE], "kind": "conv", "macs": [300, 100, 0], "ms": [2.0, 4.0, 1.0],
        "after_ms": [1.0, 2.0, 0.0],
    })  # fmt: skip
    macs, own, after = charts.layer_times(layers).data
    assert list(macs.x) == [-75, -25, 0]
    assert list(own.x) == [20, 40, 10]
    assert list(after.x) == [10, 20, 0]
    assert list(after.base) == [20, 40, 10]
    assert list(after.text) == ["30\u00a0%", "60\u00a0%", "10\u00a0%"]
