"""Every neuron in every iteration."""

import numpy as np
import pandas as pd
import pytest

from dashboard import charts
from dashboard.charts.trimming import COLUMNS, GAP

NEURONS = pd.DataFrame(
    [(0, "a", 0, 0.9), (0, "a", 1, 0.2), (0, "a", 2, 0.5), (0, "b", 0, 0.3), (1, "a", 1, 0.4), (1, "b", 0, 0.6)],
    columns=["iteration", "layer", "original_neuron", "apoz"],
)


def test_each_neuron_keeps_its_place_and_removed_ones_are_grey():
    figure = charts.trimming(NEURONS, {0: "base", 1: "first"})
    removed, kept = (np.array(trace.z, dtype=float) for trace in figure.data)
    second = COLUMNS + GAP
    np.testing.assert_allclose(kept[0, :3], [20, 50, 90])  # neuron 1 stays longest, then by APoZ
    np.testing.assert_allclose(kept[0, second], 40)
    assert np.isnan(kept[0, second + 1 : second + 3]).all()
    np.testing.assert_allclose(removed[0, second + 1 : second + 3], 1)
    assert np.isnan(removed[0, :3]).all()
    np.testing.assert_allclose(kept[2, [0, second]], [30, 60])  # b is below a, with a row between them
    assert np.isnan(kept[1]).all()
    assert figure.data[1].customdata[0, second] == "a, neuron 1"
    assert list(figure.layout.yaxis.ticktext) == ["a", "b"]
    assert list(figure.layout.xaxis.ticktext) == ["base", "first"]
    assert figure.layout.meta["alt"] == "Every neuron in 2 iterations: 4 at first, 2 at the end."


def test_a_wide_layer_fills_several_rows():
    wide = pd.DataFrame({"iteration": 0, "layer": "a", "original_neuron": range(45), "apoz": np.linspace(0, 1, 45)})
    kept = np.array(charts.trimming(wide, {0: "base"}).data[1].z, dtype=float)
    assert kept.shape == (3, COLUMNS)
    assert np.isnan(kept[2]).sum() == 15


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="original_neuron"):
        charts.trimming(NEURONS.drop(columns="original_neuron"), {0: "base"})
