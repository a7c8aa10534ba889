"""Charts of runs that are judged by another metric than accuracy: its name, its unit and its direction."""

import numpy as np
import pandas as pd
import pytest

from dashboard import charts
from dashboard.charts.sensitivity import MAX_LINES, sensitivity
from tests.dashboard.charts.examples import CUTS, EPOCHS, NODES, POINTS, trace
from trimcore.tables import Metric

MIOU, MAE = Metric("mIoU"), Metric("MAE", higher_is_better=False, percent=False)
ERRORS = EPOCHS.assign(metric=[9.0, 0.5, 0.35, 0.3, 0.45, 0.32, 0.6, 0.34])
COSTS = CUTS.assign(metric_initial=[np.nan, 0.4, 8.0], metric_final=[0.31, 0.325, 0.345])


def alt(figure) -> str:
    return figure.layout.meta["alt"]


def test_the_curve_of_a_share_differs_only_in_its_name():
    figure, usual = charts.accuracy_curve(EPOCHS, CUTS, metric=MIOU), charts.accuracy_curve(EPOCHS, CUTS)
    assert alt(figure) == alt(usual).replace("Accuracy", "mIoU")
    assert "mIoU %{y:.2f} %" in trace(figure, "each epoch").hovertemplate
    assert figure.layout.yaxis.range == usual.layout.yaxis.range
    assert (figure.layout.yaxis.title.text, usual.layout.yaxis.title.text) == ("mIoU", None)


def test_the_curve_of_an_error_is_read_the_other_way():
    figure = charts.accuracy_curve(ERRORS, COSTS, metric=MAE)
    low, high = figure.layout.yaxis.range
    assert 0.2 < low < 0.3, "the best value is at the bottom"
    assert 0.45 < high < 1, "the values right after cuts do not stretch the axis"
    initial = trace(figure, "initial")
    np.testing.assert_allclose(initial.y, [0.4, high])
    assert list(initial.text) == ["", "8"]
    hidden = next(own for own in figure.data if own.marker.symbol == "triangle-up")
    assert (list(hidden.x), list(hidden.y), list(hidden.text)) == ([1], [high], ["9"])
    np.testing.assert_allclose(trace(figure, "final").y, [0.31, 0.325, 0.345])
    assert figure.layout.yaxis.ticksuffix is None
    assert figure.layout.yaxis.title.text == "MAE, lower is better"
    assert [text[:5] for text in figure.data[-1].text] == ["1<br>", "2<br>"], "numbers stand above the marks"
    assert "the largest rise at cut 2, from 0.325 to 8, recovered to 0.345." in alt(figure)
    assert "last 0.34;" in alt(figure)
    assert "MAE %{y:.4~g}<extra>" in trace(figure, "each epoch").hovertemplate


def test_an_axis_may_go_below_zero_only_if_the_values_do():
    metric = Metric("R2", percent=False)
    figure = charts.accuracy_curve(EPOCHS.assign(metric=EPOCHS.metric - 0.95), CUTS.head(0), metric=metric)
    assert figure.layout.yaxis.range[0] < -0.05
    assert charts.accuracy_curve(ERRORS.assign(metric=0.0), CUTS.head(0), metric=MAE).layout.yaxis.range[0] == 0


@pytest.mark.parametrize(("metric", "unit", "said"), [(MIOU, 100, "mIoU 96 %"), (MAE, 1, "MAE 0.96")])
def test_the_frontier_has_the_unit_and_the_name_of_the_metric(metric, unit, said):
    figure = charts.frontier(POINTS, metric=metric)
    np.testing.assert_allclose(trace(figure, "two").y, [unit * 0.98, unit * 0.96])
    assert alt(figure).startswith(f"{metric.name} by compression for 2 runs")
    assert alt(figure).replace("\u00a0", " ").endswith(f"compressed 3.0 times with {said}.")
    assert figure.layout.yaxis.ticksuffix == (" %" if unit == 100 else None)
    assert figure.layout.yaxis.title.text.startswith(metric.name)


def test_error_bars_of_an_error_are_not_in_per_cent():
    points = POINTS.assign(metric_std=0.01, compression_std=0.1, seeds=3)
    bars = trace(charts.seed_frontier(points, metric=MAE), "one")
    np.testing.assert_allclose(bars.error_y.array, 0.01)
    assert "%{y:.4~g} ± %{customdata[3]:.4~g} at" in bars.hovertemplate
    usual = trace(charts.seed_frontier(points), "one")
    np.testing.assert_allclose(usual.error_y.array, 1)
    assert "%{y:.2f} ± %{customdata[3]:.2f} % at" in usual.hovertemplate


def layers(count: int) -> pd.DataFrame:
    return pd.DataFrame([
        (f"layer{i}", share, round(20 * share), 0.3 + i * (1 - share)) for i in range(count) for share in (1, 0.5)
    ], columns=["layer", "kept_fraction", "kept", "metric"])  # fmt: skip


def test_the_sensitivity_of_an_error_rises():
    figure = sensitivity(layers(2), 0.3, {"layer1": 0.5}, metric=MAE)
    assert list(figure.data[1].y) == pytest.approx([0.3, 0.8])
    assert figure.layout.yaxis.range[1] > 0.8, "the worst value is inside the axis"
    assert figure.layout.yaxis.title.text == "MAE, lower is better"
    assert "0.3 with all neurons, at most 0.8, with 10 neurons of layer1" in alt(figure)
    heat = sensitivity(layers(MAX_LINES + 1), 0.3, {}, metric=MAE).data[0]
    assert heat.z[2] == pytest.approx([0.3, 1.3])
    assert (heat.zmax, heat.reversescale) == (pytest.approx(0.3 + MAX_LINES / 2), True)
    share = sensitivity(layers(2).assign(metric=[0.7, 0.5, 0.7, 0.2]), 0.7, {}, metric=MIOU)
    assert "70 % with all neurons, at least 20 %, with 10 neurons of layer1" in alt(share).replace("\u00a0", " ")
    assert list(share.data[1].y) == pytest.approx([70, 20])


def test_each_run_of_the_tree_has_its_own_metric():
    tree = charts.run_tree(NODES.assign(metric=[0.99, 0.98, 0.97, 0.3125]), metrics={"b": MAE})
    first = tree.spec["series"][0]["data"][0]["children"][0]
    results = first["children"]
    assert [node["label"]["formatter"] for node in results] == ["97.0  a", "0.312  b"]
    assert [node["name"].split("\n")[1] for node in results] == [
        "97.00 %, compression 2.00×", "MAE 0.3125, compression 3.00×",
    ]  # fmt: skip
    assert "3.0 times with MAE 0.3125." in tree.alt


def test_the_name_of_a_metric_is_no_markup():
    metric = Metric("<b>x</b>", percent=False)
    figure = charts.accuracy_curve(EPOCHS, CUTS, metric=metric)
    assert "<b>x" not in trace(figure, "each epoch").hovertemplate
    assert figure.layout.yaxis.title.text == "&lt;b&gt;x&lt;/b&gt;"
