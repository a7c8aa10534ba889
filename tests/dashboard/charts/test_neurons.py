"""Charts of neurons, compared with numpy."""

import numpy as np
import pandas as pd
import pytest

from dashboard import charts
from tests.dashboard.charts.examples import BIG, LENET, history_table, neurons, trace


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
    assert [entry.strip() for entry in text] == [f"{count} above" for count in counts]
    assert f"{sum(counts)} of 570 neurons" in figure.layout.meta["alt"]


def test_apoz_by_layer_lines_change_colour_at_the_threshold():
    table = pd.DataFrame({"layer": "fc1", "neuron": range(101), "apoz": np.linspace(0, 1, 101)})
    thin_kept, thin_removed, thick_kept, thick_removed = charts.apoz_by_layer(table, {"fc1": 0.6}).data[:4]
    for line, ends in [(thin_kept, (5, 60)), (thin_removed, (60, 95)), (thick_kept, (25, 60)),
                       (thick_removed, (60, 75))]:  # fmt: skip
        np.testing.assert_allclose(line.x[:2], ends)
    thin_kept, thin_removed = charts.apoz_by_layer(table).data[:2]
    np.testing.assert_allclose(thin_kept.x[:2], (5, 95))
    assert len(thin_removed.x) == 0


def test_charts_state_what_counted_as_zero():
    table = neurons(LENET)
    near = {"conv1": (0.1, [0.03123]), "conv2": (0.0, []), "fc1": (0.1, [1.0, 2.0])}
    mixed = charts.apoz_by_layer(table, zeros=near)
    assert [row[8:] for row in trace(mixed, "mean").customdata] == [
        ["APoZ (near zero)", "|activation| ≤ 0.1 × RMS (0.0312)"], ["APoZ", "exact zeros"],
        ["APoZ (near zero)", "|activation| ≤ 0.1 × RMS (1, 2)"],
    ]
    assert "%{customdata[8]}" in trace(mixed, "mean").hovertemplate
    assert "counted as zero: %{customdata[9]}" in trace(mixed, "mean").hovertemplate
    titles = [charts.apoz_by_layer(table, zeros=zeros).layout.xaxis.title.text for zeros in (
        None, near, dict.fromkeys(LENET, (0.1, [1.0])))]
    assert titles == ["APoZ", "APoZ (near zero for activations without exact zeros)", "APoZ (near zero)"]
    histogram = charts.apoz_histogram(table.apoz, name="APoZ (near zero)")
    assert histogram.layout.xaxis.title.text == "APoZ (near zero)"
    assert histogram.data[0].hovertemplate.startswith("APoZ (near zero) %{")
    assert "<br>APoZ (near zero) %{" in charts.apoz_strip(table.apoz, "APoZ (near zero)").data[0].hovertemplate
    for tolerance, name in ((0.0, "Mean APoZ of"), (0.1, "Mean APoZ (near zero) of")):
        history = charts.apoz_history(history_table(LENET).assign(tolerance=tolerance))
        assert history.layout.meta["alt"].startswith(name)


def test_neurons_without_apoz_are_not_shown():
    table = neurons(LENET)
    table.loc[table.layer.eq("conv1"), "apoz"] = np.nan
    assert list(charts.apoz_by_layer(table).layout.yaxis.ticktext) == ["conv2", "fc1"]
    assert charts.apoz_heatmap(table).data[0].z.shape == (2, 200)


def test_histogram_splits_exactly_at_a_threshold_inside_a_bin():
    apoz = np.append(BIG.apoz.to_numpy(), [0.8123, 0.8123])  # values equal to the threshold are kept
    kept, removed = charts.apoz_histogram(apoz, 0.8123, bins=40).data
    assert sum(removed.y) == (apoz > 0.8123).sum()
    assert sum(kept.y) == (apoz <= 0.8123).sum()
    np.testing.assert_array_equal(np.add(kept.y, removed.y), np.histogram(apoz, 40, (0, 1))[0])
    assert kept.y[32] > 0  # the bin with the threshold, 80 to 82.5 %, has both
    assert removed.y[32] > 0
    assert (kept.name, removed.name) == (f"{sum(kept.y):,} kept", f"{sum(removed.y):,} removed")


def test_a_histogram_without_a_threshold():
    figure = charts.apoz_histogram(np.array([0, 0.5, 1.0]), bins=4)
    assert len(figure.data) == 1
    assert list(figure.data[0].y) == [1, 0, 1, 1]
    assert not figure.layout.shapes


@pytest.mark.parametrize(("width", "shapes"), [
    (20, [(1, 20)]), (128, [(1, 128)]), (500, [(3, 128), (1, 116)]), (4096, [(32, 128)]),
])
def test_the_strip_shows_every_neuron_once_highest_first(width, shapes):
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


def test_heatmap_rows_are_sorted_and_have_the_same_width():
    figure = charts.apoz_heatmap(BIG)
    heat = figure.data[0]
    assert heat.z.dtype == np.uint8
    assert heat.z.shape == (13, 200)
    assert (np.diff(heat.z.astype(int), axis=1) <= 0).all()
    for row, (_, layer) in zip(heat.z, BIG.groupby("layer", sort=False), strict=True):
        expected = 100 * np.quantile(layer.apoz, 1 - (np.arange(200) + 0.5) / 200, method="inverted_cdf")
        assert np.abs(row - expected).max() <= 0.5 + 100 * np.abs(np.diff(np.sort(layer.apoz))).max()
    assert charts.apoz_heatmap(neurons({"conv1": 20})).data[0].z.shape == (1, 20)
