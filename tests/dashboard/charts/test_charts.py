"""Properties of all charts: size, alt text, errors, and a consistent look."""

import pandas as pd
import pytest
from plotly.colors import sequential

from dashboard import charts
from dashboard.charts import marks
from dashboard.charts.tables import short_layer
from tests.dashboard.charts.examples import (
    BIG,
    COURSES,
    CUTS,
    DEEP,
    ENDS,
    EPOCHS,
    FATES,
    LENET,
    POINTS,
    ROC,
    SIZES,
    VERIFIED,
    VGG,
    WIDTHS,
    halved,
    history_table,
    layer_table,
    neurons,
    trace,
    unit_table,
    zero_table,
)
from trimcore.tables import Metric

FIGURES = {
    "butterfly": lambda: charts.butterfly(layer_table(VGG)),
    "network_drawing": lambda: charts.network_drawing(layer_table(LENET).assign(
        before=WIDTHS.before, after=WIDTHS.after, parameters_after=100, macs_after=100, k=0, k_after=0, inside=""),
        pd.DataFrame(columns=["group", "layer"])),
    "apoz_by_layer": lambda: charts.apoz_by_layer(BIG, dict.fromkeys(VGG, 0.8)),
    "apoz_histogram": lambda: charts.apoz_histogram(BIG.apoz.to_numpy(), 0.8),
    "apoz_strip": lambda: charts.apoz_strip(BIG.apoz.to_numpy()[:4096]),
    "apoz_heatmap": lambda: charts.apoz_heatmap(BIG),
    "accuracy_curve": lambda: charts.accuracy_curve(EPOCHS, CUTS),
    "loss_curve": lambda: charts.loss_curve(EPOCHS),
    "apoz_history": lambda: charts.apoz_history(history_table(VGG)),
    "width_history": lambda: charts.width_history(history_table(VGG)),
    "frontier": lambda: charts.frontier(POINTS),
    "seed_frontier": lambda: charts.seed_frontier(POINTS.assign(metric_std=0.01, compression_std=0.1, seeds=3)),
    "apoz_comparison": lambda: charts.apoz_comparison(BIG, BIG.assign(apoz=BIG.apoz / 2), ("one", "two")),
    "survivors": lambda: charts.survivors(FATES, ("one", "two")),
    "sweep_frontier": lambda: charts.sweep_frontier(COURSES, {"step.value": "value", "seed": "seed"}),
    "setting_effect": lambda: charts.setting_effect(ENDS, "step.value", "value", "seed", "seed"),
    "widths_preview": lambda: charts.widths_preview(WIDTHS),
    "unit_heatmap": lambda: charts.unit_heatmap(unit_table(1024, 16)),
    "unit_history": lambda: charts.unit_history(unit_table(1024, 16).assign(iteration=0, layer="fc1")),
    "unit_imbalance": lambda: charts.unit_imbalance(unit_table(1024, 16)),
    "sparsity_history": lambda: charts.sparsity_history(zero_table(VGG)),
    "parameter_history": lambda: charts.parameter_history(SIZES),
    "byte_history": lambda: charts.byte_history(SIZES),
    "goal_curve": lambda: charts.goal_curve(
        pd.DataFrame({"times": [1.0, 2.0, 4.0], "value": [0.98, 0.97, 0.5]}), 2.0, (3.0, 0.9), "smaller", Metric()
    ),
    "trimming": lambda: charts.trimming(
        neurons(LENET).assign(iteration=0, original_neuron=lambda own: own.neuron), {0: "base network"}
    ),
    "layer_times": lambda: charts.layer_times(
        layer_table(VGG).assign(ms=range(len(VGG)), after_ms=1.0)),
    "roc": lambda: charts.roc(ROC),
    "verification_history": lambda: charts.verification_history(VERIFIED),
}


def test_every_public_chart_is_tested():
    assert sorted([*FIGURES, "RunTree", "run_tree"]) == sorted(charts.__all__), "test_tree.py tests the tree"


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_light_and_have_alt_texts(name):
    figure = FIGURES[name]()
    assert len(figure.to_json()) < 500_000
    bars = sum(len(trace.x) for trace in figure.data if trace.type == "bar")
    assert bars < 300
    alt = figure.layout.meta["alt"]
    assert alt.endswith(".")
    assert "nan" not in alt.lower()
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


@pytest.mark.parametrize(("chart", "arguments", "named"), [
    (charts.butterfly, [layer_table(LENET).head(0)], "layers"),
    (charts.apoz_by_layer, [BIG.head(0)], "neurons"),
    (charts.apoz_histogram, [[]], "apoz"),
    (charts.apoz_strip, [[]], "apoz"),
    (charts.apoz_heatmap, [BIG.head(0)], "neurons"),
    (charts.accuracy_curve, [EPOCHS.head(0), CUTS], "epochs"),
    (charts.loss_curve, [EPOCHS.head(0)], "epochs"),
    (charts.apoz_history, [history_table(LENET).head(0)], "layers"),
    (charts.width_history, [history_table(LENET).head(0)], "layers"),
    (charts.frontier, [POINTS.head(0)], "points"),
    (charts.widths_preview, [WIDTHS.head(0)], "widths"),
    (charts.sweep_frontier, [COURSES.head(0), {"seed": "seed"}], "points"),
    (charts.setting_effect, [ENDS.head(0), "seed", "seed"], "results"),
    (charts.setting_effect, [ENDS, "base.lr", "base.lr"], "base.lr"),
    (charts.unit_heatmap, [unit_table(3, 2).head(0)], "units"),
    (charts.unit_imbalance, [unit_table(3, 2).head(5)], "members 0 to 1"),
    (charts.sparsity_history, [zero_table(LENET).head(0)], "layers"),
    (charts.parameter_history, [SIZES.head(0)], "iterations"),
    (charts.byte_history, [SIZES.assign(bytes_sparse=None)], "bytes_dense"),
    (charts.roc, [ROC.head(0)], "curves"),
    (charts.verification_history, [VERIFIED.head(0)], "verifications"),
    (charts.butterfly, [layer_table(LENET).drop(columns="macs")], "macs"),
    (charts.apoz_histogram, [[0.5, 80.0]], "0..1"),
])
def test_errors_name_what_is_missing(chart, arguments, named):
    with pytest.raises(ValueError, match=named):
        chart(*arguments)


# --- layers ---


@pytest.mark.parametrize("name", ["butterfly", "apoz_by_layer", "apoz_heatmap", "apoz_history", "width_history"])
def test_layers_are_in_depth_order_from_the_top(name):
    axis = FIGURES[name]().layout.yaxis
    assert list(axis.ticktext) == [short_layer(layer) for layer in VGG]
    assert list(axis.tickvals) == list(range(len(VGG)))
    assert axis.range[0] > axis.range[1]


# --- hundreds of layers ---


@pytest.mark.parametrize("chart", [
    lambda: charts.butterfly(layer_table(DEEP)),
    lambda: charts.apoz_by_layer(neurons(DEEP), dict.fromkeys(DEEP, 0.8)),
    lambda: charts.apoz_heatmap(neurons(DEEP)),
    lambda: charts.apoz_history(history_table(DEEP)),
    lambda: charts.width_history(history_table(DEEP)),
    lambda: charts.widths_preview(halved(DEEP)),
    lambda: charts.sparsity_history(zero_table(DEEP)),
])
def test_charts_of_hundreds_of_layers_are_light_and_low(chart):
    figure = chart()
    assert len(figure.to_json()) < 500_000
    assert figure.layout.height < 1500
    ticks = figure.layout.yaxis.tickvals
    room = figure.layout.height - 120  # without axes and legend
    assert len(ticks) * 13 < room, "labels would overlap"


# --- one look ---


def test_kept_and_removed_look_the_same_everywhere():
    preview, histogram = charts.widths_preview(WIDTHS), charts.apoz_histogram(BIG.apoz, 0.8)
    for kept, cut in [preview.data[:2], histogram.data]:
        assert (kept.marker.color, kept.marker.pattern.shape) == (marks.KEPT.colour, marks.KEPT.pattern)
        assert (cut.marker.color, cut.marker.pattern.shape) == (marks.CUT.colour, marks.CUT.pattern)
    by_layer = charts.apoz_by_layer(BIG, dict.fromkeys(VGG, 0.8))
    assert [line.line.color for line in by_layer.data[:2]] == [marks.KEPT.colour, marks.CUT.colour]
    assert histogram.layout.shapes[0].line.color == trace(by_layer, "threshold").marker.line.color == marks.CUT.colour


def test_initial_and_final_look_the_same_everywhere():
    accuracy, frontier = charts.accuracy_curve(EPOCHS, CUTS), charts.frontier(POINTS)
    for figure in (accuracy, frontier):
        initial = trace(figure, "initial").marker
        assert (initial.color, initial.symbol) == (marks.INITIAL.colour, marks.INITIAL.symbol)
    assert trace(accuracy, "final").marker.symbol == trace(frontier, "one").marker.symbol == marks.FINAL.symbol
    assert trace(accuracy, "final").marker.color == trace(frontier, "one").line.color == marks.FINAL.colour
    assert marks.INITIAL.colour not in marks.SERIES


def test_apoz_is_always_cividis_from_0_to_100():
    for figure in (charts.apoz_heatmap(BIG), charts.apoz_strip(BIG.apoz)):
        axis = figure.layout.coloraxis
        assert (axis.cmin, axis.cmax, axis.colorscale[-1][1]) == (0, 100, sequential.Cividis[-1])
    apoz, width = (chart(history_table(VGG)).data[0] for chart in (charts.apoz_history, charts.width_history))
    assert (apoz.zmin, apoz.zmax, apoz.colorscale[-1][1]) == (0, 100, sequential.Cividis[-1])
    assert width.colorscale[-1][1] == marks.ACCENT
