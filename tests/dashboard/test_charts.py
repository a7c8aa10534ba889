"""The charts say what the data says: compared with plain numpy, counted, and weighed."""

from itertools import groupby

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plotly.colors import sequential

from dashboard import charts
from dashboard.charts import marks
from dashboard.charts.many import blocks
from dashboard.charts.tables import percent, short_layer

LENET = {"conv1": 20, "conv2": 50, "fc1": 500}
DEEP = {f"features.{stage}.{block}.block.{k}.0": 32 * stage + k for stage in range(1, 9) for block in range(14)
        for k in range(3)}  # 336 layers
VGG = dict(zip(
    [f"features.{index}" for index in (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34)] + ["classifier.0", "classifier.3"],
    [64, 64, 128, 128, 256, 256, 256, 512, 512, 1024, 1024, 4096, 4096], strict=True,
))  # 13 layers, 12,416 neurons


def neurons(widths, seed=0):
    rng = np.random.default_rng(seed)
    return pd.concat([
        pd.DataFrame({"layer": layer, "neuron": np.arange(width), "apoz": rng.beta(4, 2, width)})
        for layer, width in widths.items()
    ])


def layer_table(widths):
    return pd.DataFrame({
        "layer": list(widths), "kind": "Linear", "width": list(widths.values()),
        "parameters": np.arange(1, len(widths) + 1) * 1000, "macs": np.arange(len(widths), 0, -1) * 5000,
        "frozen": [""] * (len(widths) - 1) + ["output"],
    })


def history_table(widths):
    return pd.DataFrame(
        [(iteration, layer, 0.8 - 0.1 * iteration, width - iteration * width // 5, width // 5)
         for iteration in range(3) for layer, width in widths.items()],
        columns=["iteration", "layer", "apoz_mean", "width", "pruned"],
    )


EPOCHS = pd.DataFrame({
    "iteration": [0, 0, 0, 0, 1, 1, 2, 2], "epoch": [1, 2, 3, 4, 1, 2, 1, 2],
    "loss": [2, 1, 0.5, 0.2, 0.3, 0.2, 0.4, 0.3],
    "accuracy": [0.90, 0.95, 0.97, 0.98, 0.965, 0.975, 0.955, 0.97],
})
CUTS = pd.DataFrame({
    "iteration": [0, 1, 2], "label": ["", "conv2 −11", "fc1 −74"], "accuracy_initial": [np.nan, 0.96, 0.12],
    "accuracy_final": [0.979, 0.974, np.nan],
})
POINTS = pd.DataFrame({
    "run": ["one", "one", "two", "two"], "iteration": [0, 1, 0, 1], "compression": [1.0, 2.0, 1.0, 3.0],
    "accuracy_initial": [np.nan, 0.9, np.nan, 0.8], "accuracy_final": [0.98, 0.97, 0.98, 0.96],
})
def unit_table(count, k, seed=0):
    """Relevance that adds up to 1 in each unit, uneven, with some neurons that are never the maximum."""
    relevance = np.random.default_rng(seed).dirichlet([0.3] * k, count)
    relevance[relevance < 0.01] = 0
    relevance /= relevance.sum(1, keepdims=True)
    return pd.DataFrame({"unit": np.repeat(np.arange(count), k), "member": np.tile(np.arange(k), count),
                         "neuron": np.arange(count * k), "relevance": relevance.ravel()})


def zero_table(layers, iterations=3):
    return pd.DataFrame(
        [(iteration, layer, 100 * weights, 10 * iteration * weights) for iteration in range(1, iterations + 1)
         for weights, layer in enumerate(layers, 1)], columns=["iteration", "layer", "weights", "zeros"],
    )


SIZES = pd.DataFrame({
    "iteration": [0, 1, 2], "parameters": [1000, 800, 800], "nonzero_parameters": [1000, 799, 160],
    "bytes_dense": [4000, 3200, 3200], "bytes_sparse": [4000, 3200, 900],
})
ROC = pd.DataFrame({
    "curve": ["base"] * 3 + ["result"] * 4, "auc": [0.875] * 3 + [0.9375] * 4,
    "false_positive": [0, 0.25, 1, 0, 0.125, 0.5, 1], "true_positive": [0, 1, 1, 0, 0.75, 1, 1],
})
VERIFIED = pd.DataFrame({"iteration": [0, 1, 2], "accuracy": [0.9, 0.92, 0.88], "standard_error": [0.01, np.nan, 0.02]})
WIDTHS = pd.DataFrame({"layer": ["conv1", "conv2", "fc1"], "before": [20, 50, 500], "after": [20, 39, 426]})
NODES = pd.DataFrame({
    "run": ["a"] * 3 + ["b"], "label": ["a"] * 3 + ["b"], "row": [0, 0, 0, 1], "depth": [0, 1, 2, 2],
    "iteration": [0, 1, 2, 1], "state": "finished", "compression": [1, 1.5, 2, 3],
    "accuracy": [0.99, 0.98, 0.97, np.nan],
    "configuration": "20-50-500", "cut": "fc1", "result": [False, False, True, True], "parent_row": [np.nan] * 3 + [0],
})
FATES = pd.DataFrame({"layer": list(VGG), "both": 30, "first": 20, "second": 10, "neither": 4})
BIG = neurons(VGG)
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
    "seed_frontier": lambda: charts.seed_frontier(POINTS.assign(accuracy_std=0.01, compression_std=0.1, seeds=3)),
    "run_tree": lambda: charts.run_tree(NODES),
    "apoz_versus": lambda: charts.apoz_versus(BIG, BIG.assign(apoz=BIG.apoz / 2), ("one", "two")),
    "survivors": lambda: charts.survivors(FATES, ("one", "two")),
    "widths_preview": lambda: charts.widths_preview(WIDTHS),
    "unit_heatmap": lambda: charts.unit_heatmap(unit_table(1024, 16)),
    "unit_history": lambda: charts.unit_history(unit_table(1024, 16).assign(iteration=0, layer="fc1")),
    "unevenness": lambda: charts.unevenness(unit_table(1024, 16)),
    "sparsity_history": lambda: charts.sparsity_history(zero_table(VGG)),
    "parameter_history": lambda: charts.parameter_history(SIZES),
    "byte_history": lambda: charts.byte_history(SIZES),
    "roc": lambda: charts.roc(ROC),
    "verification_history": lambda: charts.verification_history(VERIFIED),
}


def trace(figure, name):
    return next(trace for trace in figure.data if trace.name == name)


def test_every_public_chart_is_tested():
    assert sorted(FIGURES) == sorted(charts.__all__)


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_light_and_describe_themselves(name):
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
    (charts.unit_heatmap, [unit_table(3, 2).head(0)], "units"),
    (charts.unevenness, [unit_table(3, 2).head(5)], "members 0 to 1"),
    (charts.sparsity_history, [zero_table(LENET).head(0)], "layers"),
    (charts.parameter_history, [SIZES.head(0)], "iterations"),
    (charts.byte_history, [SIZES.assign(bytes_sparse=None)], "bytes_dense"),
    (charts.roc, [ROC.head(0)], "curves"),
    (charts.verification_history, [VERIFIED.head(0)], "verifications"),
    (charts.butterfly, [layer_table(LENET).drop(columns="macs")], "macs"),
    (charts.apoz_histogram, [[0.5, 80.0]], "0..1"),
])
def test_what_is_missing_is_named(chart, arguments, named):
    with pytest.raises(ValueError, match=named):
        chart(*arguments)


# --- layers ---

@pytest.mark.parametrize("name", ["butterfly", "apoz_by_layer", "apoz_heatmap", "apoz_history", "width_history"])
def test_layers_stand_in_depth_order_from_the_top(name):
    axis = FIGURES[name]().layout.yaxis
    assert list(axis.ticktext) == [short_layer(layer) for layer in VGG]
    assert list(axis.tickvals) == list(range(len(VGG)))
    assert axis.range[0] > axis.range[1]


def test_butterfly_shares():
    layers = layer_table(LENET)
    parameters, macs, legend = charts.butterfly(layers).data
    np.testing.assert_allclose(parameters.x, -100 * layers.parameters / layers.parameters.sum())
    np.testing.assert_allclose(macs.x, 100 * layers.macs / layers.macs.sum())
    assert list(parameters.marker.color) == [marks.ACCENT, marks.ACCENT, marks.FROZEN.colour]
    assert "frozen" in legend.name


def test_widths_preview_splits_each_bar():
    figure = charts.widths_preview(WIDTHS)
    kept, cut = trace(figure, "kept"), trace(figure, "cut")
    np.testing.assert_allclose(kept.x, [100, 78, 85.2])
    np.testing.assert_allclose(np.add(kept.x, cut.x), 100)
    assert [text.strip() for text in figure.data[2].text] == ["20", "50 → 39", "500 → 426"]
    with pytest.raises(ValueError, match="grow in conv2"):
        charts.widths_preview(WIDTHS.assign(after=[20, 51, 500]))


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
def test_hundreds_of_layers_stay_light_and_low(chart):
    figure = chart()
    assert len(figure.to_json()) < 500_000
    assert figure.layout.height < 1500
    ticks = figure.layout.yaxis.tickvals
    room = figure.layout.height - 120  # for axes and legend
    assert len(ticks) * 13 < room, "labels would touch each other"


def halved(widths):
    return pd.DataFrame({"layer": list(widths), "before": list(widths.values()), "after": [w // 2 for w in
                         widths.values()]})


@settings(deadline=None)
@given(st.lists(st.from_regex(r"[ab]{1,2}(\.[0-3]){0,3}", fullmatch=True), min_size=1, max_size=60, unique=True),
       st.integers(2, 12))
def test_blocks_hold_neighbours_and_are_few(layers, most):
    rows = blocks(sorted(layers), most)
    assert len(rows) == len(layers)
    assert len(set(rows)) <= most
    if len(layers) <= most:
        assert rows == sorted(layers)
    assert len(list(groupby(rows))) == len(set(rows)), "a block is one run of the layers in order"


def test_blocks_are_the_finest_that_fit():
    assert set(blocks(list(DEEP))) == {f"features.{stage}" for stage in range(1, 9)}
    assert set(blocks(list(DEEP), 120)) == {f"features.{stage}.{block}" for stage in range(1, 9) for block in range(14)}
    assert blocks(["a", "b", "c", "d", "e"], 2) == ["a … c"] * 3 + ["d … e"] * 2


def test_the_butterfly_of_blocks_adds_up():
    layers = layer_table(DEEP)
    layers.loc[layers.layer.str.startswith("features.2."), "frozen"] = "it is held"
    layers.loc[layers.layer == "features.3.0.block.0.0", "frozen"] = "it is held"
    whole, macs, free = charts.butterfly(layers).data[:3]
    np.testing.assert_allclose([-sum(whole.x), sum(macs.x)], 100)
    second = layers[layers.layer.str.startswith("features.2.")].parameters.sum() / layers.parameters.sum()
    np.testing.assert_allclose(whole.x[1], -100 * second)
    hatched = [stage for stage, colour in enumerate(whole.marker.color, 1) if colour == marks.FROZEN.colour]
    assert hatched == [2, 3, 8]
    third = layers[layers.layer.str.startswith("features.3.") & layers.frozen.eq("")].parameters.sum()
    assert list(free.y) == [2, 7]  # blocks of which a part is frozen; the last has the output
    np.testing.assert_allclose(free.x[0], -100 * third / layers.parameters.sum())
    assert whole.customdata[2][1].startswith("42 layers, ")
    assert whole.customdata[2][4] == "<br>1 of them frozen"


def test_parts_without_neurons_say_none():
    layers = pd.DataFrame({"layer": ["mlp", "attention"], "kind": ["linear", "fixed"], "width": [8, 0],
                           "parameters": [10, 30], "macs": [5, 5], "frozen": ["", "no rule"]})
    details = charts.butterfly(layers).data[0].customdata
    assert [row[1] for row in details] == ["linear, 8 neurons", "fixed"]


def test_of_many_layers_the_most_trimmed_have_their_own_rows():
    widths = halved(DEEP)
    figure = charts.widths_preview(widths)
    rows = trace(figure, "kept").customdata
    assert len(rows) == 41
    most = sorted(DEEP, key=lambda name: DEEP[name] // 2 - DEEP[name])[:40]
    assert [row[0] for row in rows[:-1]] == [name for name in DEEP if name in most]
    assert list(rows[-1]) == ["296 others", sum(widths.before) - sum(row[1] for row in rows[:-1]),
                              sum(widths.after) - sum(row[2] for row in rows[:-1]), sum(row[3] for row in rows) -
                              sum(row[3] for row in rows[:-1])]
    assert sum(row[3] for row in rows) == sum(widths.before - widths.after)


def test_one_layer_too_many_needs_no_row_for_the_rest():
    for count, rows in ((41, 41), (42, 41)):
        few = halved({f"l{k}": 100 for k in range(count)})
        assert len(trace(charts.widths_preview(few), "kept").customdata) == rows


def test_histories_of_many_layers_sum_up_the_rest():
    table = history_table(DEEP)
    cells = charts.apoz_history(table).data[0]
    pruned = table.groupby("layer", sort=False).pruned.sum()
    own = pruned.sort_values(ascending=False, kind="stable").index[:12]
    assert [row[0][0] for row in cells.customdata] == [name for name in DEEP if name in set(own)] + ["324 others"]
    others = table[~table.layer.isin(own)]
    for column, (_, rows) in enumerate(others.groupby("iteration")):
        assert cells.customdata[-1][column][2] == rows.width.sum()
        np.testing.assert_allclose(cells.z[-1][column], 100 * np.average(rows.apoz_mean, weights=rows.width), rtol=1e-6)


# --- neurons ---

def test_apoz_by_layer_against_numpy():
    table, limits = neurons(LENET), {"conv2": 0.7, "fc1": 0.85}
    figure = charts.apoz_by_layer(table, limits)
    groups = {layer: rows.apoz.to_numpy() for layer, rows in table.groupby("layer", sort=False)}
    mean, median, threshold = (trace(figure, name) for name in ("mean", "median", "threshold"))
    np.testing.assert_allclose(mean.x, [100 * apoz.mean() for apoz in groups.values()])
    np.testing.assert_allclose(median.x, [100 * np.median(apoz) for apoz in groups.values()])
    np.testing.assert_allclose(threshold.x, [70, 85])
    assert list(threshold.y) == [1, 2]
    text = next(trace.text for trace in figure.data if trace.mode == "text")
    counts = [int((groups[layer] > limit).sum()) for layer, limit in limits.items()]
    assert [entry.strip() for entry in text] == [f"{count} beyond" for count in counts]
    assert f"{sum(counts)} of 570 neurons" in figure.layout.meta["alt"]


def test_apoz_by_layer_lines_change_colour_at_the_threshold():
    table = pd.DataFrame({"layer": "fc1", "neuron": range(101), "apoz": np.linspace(0, 1, 101)})
    thin_kept, thin_cut, thick_kept, thick_cut = charts.apoz_by_layer(table, {"fc1": 0.6}).data[:4]
    for line, ends in [(thin_kept, (5, 60)), (thin_cut, (60, 95)), (thick_kept, (25, 60)), (thick_cut, (60, 75))]:
        np.testing.assert_allclose(line.x[:2], ends)
    thin_kept, thin_cut = charts.apoz_by_layer(table).data[:2]
    np.testing.assert_allclose(thin_kept.x[:2], (5, 95))
    assert len(thin_cut.x) == 0


def test_what_counted_as_zero_is_said():
    table = neurons(LENET)
    near = {"conv1": (0.1, [0.03123]), "conv2": (0.0, []), "fc1": (0.1, [1.0, 2.0])}
    mixed = charts.apoz_by_layer(table, zeros=near)
    assert [row[8:] for row in trace(mixed, "mean").customdata] == [
        ["APoZ (near zero)", "|activation| ≤ 0.1 × RMS (0.0312)"], ["APoZ", "exact zeros"],
        ["APoZ (near zero)", "|activation| ≤ 0.1 × RMS (1, 2)"],
    ]
    assert "%{customdata[8]}" in trace(mixed, "mean").hovertemplate
    assert "zero: %{customdata[9]}" in trace(mixed, "mean").hovertemplate
    titles = [charts.apoz_by_layer(table, zeros=zeros).layout.xaxis.title.text for zeros in (
        None, near, dict.fromkeys(LENET, (0.1, [1.0])))]
    assert titles == ["APoZ", "APoZ (near zero where there are no true zeros)", "APoZ (near zero)"]
    histogram = charts.apoz_histogram(table.apoz, name="APoZ (near zero)")
    assert histogram.layout.xaxis.title.text == "APoZ (near zero)"
    assert histogram.data[0].hovertemplate.startswith("APoZ (near zero) %{")
    assert "<br>APoZ (near zero) %{" in charts.apoz_strip(table.apoz, "APoZ (near zero)").data[0].hovertemplate
    for tolerance, name in ((0.0, "Mean APoZ of"), (0.1, "Mean APoZ (near zero) of")):
        history = charts.apoz_history(history_table(LENET).assign(tolerance=tolerance))
        assert history.layout.meta["alt"].startswith(name)


def test_neurons_without_an_apoz_are_left_out():
    table = neurons(LENET)
    table.loc[table.layer.eq("conv1"), "apoz"] = np.nan
    assert list(charts.apoz_by_layer(table).layout.yaxis.ticktext) == ["conv2", "fc1"]
    assert charts.apoz_heatmap(table).data[0].z.shape == (2, 200)


def test_histogram_splits_exactly_at_a_threshold_inside_a_bin():
    apoz = np.append(BIG.apoz.to_numpy(), [0.8123, 0.8123])  # equal to the threshold: these stay
    kept, cut = charts.apoz_histogram(apoz, 0.8123, bins=40).data
    assert sum(cut.y) == (apoz > 0.8123).sum()
    assert sum(kept.y) == (apoz <= 0.8123).sum()
    np.testing.assert_array_equal(np.add(kept.y, cut.y), np.histogram(apoz, 40, (0, 1))[0])
    assert kept.y[32] > 0  # the bin of the threshold, 80 to 82.5 %, shows both
    assert cut.y[32] > 0
    assert (kept.name, cut.name) == (f"{sum(kept.y):,} kept", f"{sum(cut.y):,} cut")


def test_histogram_without_a_threshold_keeps_all():
    figure = charts.apoz_histogram(np.array([0, 0.5, 1.0]), bins=4)
    assert len(figure.data) == 1
    assert list(figure.data[0].y) == [1, 0, 1, 1]
    assert not figure.layout.shapes


@pytest.mark.parametrize(("width", "shapes"), [
    (20, [(1, 20)]), (128, [(1, 128)]), (500, [(3, 128), (1, 116)]), (4096, [(32, 128)]),
])
def test_strip_shows_every_neuron_once_from_the_highest(width, shapes):
    apoz = neurons({"fc1": width}).apoz.to_numpy()
    cells = charts.apoz_strip(apoz).data
    assert [trace.z.shape for trace in cells] == shapes
    assert all(trace.z.dtype == np.uint8 for trace in cells)
    details = np.concatenate([trace.customdata.reshape(-1, 2) for trace in cells])
    assert sorted(details[:, 0]) == list(range(width))
    assert (np.diff(details[:, 1]) <= 0).all()
    np.testing.assert_allclose(details[:, 1], 100 * apoz[details[:, 0].astype(int)], rtol=1e-6)
    z = np.concatenate([trace.z.ravel() for trace in cells])
    assert np.abs(z - details[:, 1]).max() <= 0.5 + 1e-4


def test_heatmap_rows_are_uint8_sorted_and_span_the_same_width():
    figure = charts.apoz_heatmap(BIG)
    heat = figure.data[0]
    assert heat.z.dtype == np.uint8
    assert heat.z.shape == (13, 200)
    assert (np.diff(heat.z.astype(int), axis=1) <= 0).all()
    for row, (_, layer) in zip(heat.z, BIG.groupby("layer", sort=False), strict=True):
        expected = 100 * np.quantile(layer.apoz, 1 - (np.arange(200) + 0.5) / 200, method="inverted_cdf")
        assert np.abs(row - expected).max() <= 0.5 + 100 * np.abs(np.diff(np.sort(layer.apoz))).max()
    assert charts.apoz_heatmap(neurons({"conv1": 20})).data[0].z.shape == (1, 20)


# --- history ---

def test_accuracy_curve_places_cuts_drops_and_recoveries():
    figure = charts.accuracy_curve(EPOCHS, CUTS)
    epochs, initial, final = (trace(figure, name) for name in ("each epoch", "initial", "final"))
    assert list(epochs.x) == [1, 2, 3, 4, None, 5, 6, None, 7, 8]
    assert list(initial.x) == [4, 6]
    assert list(final.x) == [4, 6, 8]
    np.testing.assert_allclose(final.y, [97.9, 97.4, np.nan])
    drops = figure.data[0]
    np.testing.assert_allclose(drops.y[:2], [97.9, 96])
    np.testing.assert_allclose(drops.y[3:5], [97.4, 12])
    numbers = figure.data[-1]
    assert list(numbers.text) == [1, 2]
    assert [label for _, label in numbers.customdata] == ["conv2 −11", "fc1 −74"]


def test_accuracy_curve_zooms_and_writes_what_lies_beneath():
    figure = charts.accuracy_curve(EPOCHS, CUTS)
    low, high = figure.layout.yaxis.range
    assert 80 < low < 96.5
    assert 98 < high < 100
    initial = trace(figure, "initial")
    np.testing.assert_allclose(initial.y, [96, low])
    assert list(initial.text) == ["", percent(0.12)]


def test_accuracy_curve_shows_all_before_the_first_cut():
    figure = charts.accuracy_curve(EPOCHS.head(4).assign(accuracy=[0.1, 0.5, 0.9, 0.98]), CUTS.head(0))
    low, high = figure.layout.yaxis.range
    assert low < 10
    assert high > 98


def test_loss_curve_breaks_at_cuts():
    loss = charts.loss_curve(EPOCHS.sample(frac=1, random_state=0))  # the order of rows does not matter
    assert list(loss.data[0].x) == [1, 2, 3, 4, None, 5, 6, None, 7, 8]
    assert [line.x0 for line in loss.layout.shapes] == [4, 6]


def test_epochs_of_a_conversion_follow_those_of_the_base():
    phases = ["base", "base", "convert", "convert", *["retrain"] * 4]
    epochs = EPOCHS.assign(epoch=[1, 2, 1, 2, 1, 2, 1, 2], phase=phases).sample(frac=1, random_state=0)
    figure = charts.accuracy_curve(epochs, CUTS)
    curve, label = trace(figure, "each epoch"), next(t for t in figure.data if t.text == "to ReLU")
    assert list(curve.x) == [1, 2, 3, 4, None, 5, 6, None, 7, 8]  # no cut between the base and its conversion
    np.testing.assert_allclose(curve.y[:4], [90, 95, 97, 98])
    assert [tuple(row) for row in curve.customdata[:4]] == [
        ("iteration 0", 1), ("iteration 0", 2), ("conversion to ReLU", 1), ("conversion to ReLU", 2),
    ]
    assert list(label.x) == [2]
    assert [line.x0 for line in figure.layout.shapes] == [2, 4, 6]
    assert "after epoch 2 the network turns into ReLU" in figure.layout.meta["alt"]
    assert any(t.text == "to maxout" for t in charts.accuracy_curve(epochs, CUTS, "maxout").data)
    loss = charts.loss_curve(epochs)
    np.testing.assert_allclose(loss.data[0].y[:4], [2, 1, 0.5, 0.2])
    assert [line.x0 for line in loss.layout.shapes] == [2, 4, 6]


def test_histories_are_lines_for_few_layers_and_a_heatmap_for_many():
    for chart, first in [(charts.apoz_history, 80), (charts.width_history, 100)]:
        lines = chart(history_table(LENET)).data
        assert [line.name for line in lines] == list(LENET)
        np.testing.assert_allclose([line.y[0] for line in lines], first)
        (heat,) = chart(history_table(VGG)).data
        assert heat.z.shape == (13, 3)
        np.testing.assert_allclose(heat.z[:, 0], first)
    np.testing.assert_allclose(charts.width_history(history_table(LENET)).data[2].y, [100, 80, 60])


def test_frontier_has_a_line_a_run_and_hides_initials():
    reference = pd.DataFrame({"label": ["row"], "compression": [2.5], "accuracy": [0.99]})
    figure = charts.frontier(POINTS, reference)
    one, two = trace(figure, "one"), trace(figure, "two")
    np.testing.assert_allclose(two.x, [1, 3])
    np.testing.assert_allclose(two.y, [98, 96])
    assert one.line.color != two.line.color
    initials = [trace for trace in figure.data if trace.name == "initial"]
    assert [trace.visible for trace in initials] == ["legendonly"] * 2
    assert [trace.showlegend for trace in initials] == [True, False]
    assert figure.layout.xaxis.type is None
    assert charts.frontier(POINTS.assign(compression=[1, 4, 1, 13])).layout.xaxis.type == "log"


# --- one look ---

def test_kept_and_cut_look_the_same_everywhere():
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


@pytest.mark.parametrize(("share", "text"), [
    (0, "0 %"), (0.0001, "<0.1 %"), (0.0043, "0.4 %"), (0.814, "81 %"), (0.9913, "99.1 %"), (1, "100 %"),
])
def test_percent(share, text):
    assert percent(share) == text.replace(" ", "\u00a0")


@pytest.mark.parametrize(("name", "short"), [
    ("conv1", "conv1"), ("classifier.3", "classifier.3"), ("layer4.1.conv2", "layer4.1.conv2"),
    ("features.denseblock1.denselayer12.conv1", "f.d1.d12.conv1"), ("features.6.15.block.0.0", "f.6.15.b.0.0"),
    ("features.6.1.block.0.0", "f.6.1.b.0.0"), ("layer2.0.downsample.0", "l2.0.d.0"),
    ("encoder.layers.encoder_layer_11.mlp.0", "e.l.e11.mlp.0"),
    ("encoder.layers.encoder_layer_0.self_attention", "e.l.e0.self_a…"),
])
def test_long_names_keep_what_tells_siblings_apart(name, short):
    assert short_layer(name) == short
