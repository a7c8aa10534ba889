"""The charts of maxout units, weight pruning and verification say what the data says."""

import numpy as np
import pandas as pd
import pytest
from plotly.colors import sequential

from dashboard import charts
from dashboard.charts import marks
from tests.dashboard.test_charts import DEEP, LENET, POINTS, ROC, SIZES, VERIFIED, VGG, trace, unit_table, zero_table

UNITS = pd.DataFrame({  # of three members; the second unit is as uneven as the third, until the second place
    "unit": [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, "member": [0, 1, 2] * 4, "neuron": range(12),
    "relevance": [0.25, 0.5, 0.25, 0.125, 0.125, 0.75, 0.25, 0.75, 0, 0, 0, 1],
})


def cells(figure) -> list[list[tuple[int, int]]]:
    """(unit, neuron) of each cell."""
    return [[(int(u), int(n)) for u, n, _ in row] for row in figure.data[0].customdata]


# --- maxout units ---

def test_units_stand_from_the_most_uneven_and_their_neurons_from_the_strongest():
    figure = charts.unit_heatmap(UNITS)
    assert cells(figure) == [
        [(3, 11), (3, 9), (3, 10)], [(2, 7), (2, 6), (2, 8)], [(1, 5), (1, 3), (1, 4)], [(0, 1), (0, 0), (0, 2)],
    ]
    assert figure.data[0].z.tolist() == [[100, 0, 0], [75, 25, 0], [75, 12, 12], [50, 25, 25]]
    assert list(figure.layout.xaxis.ticktext) == ["strongest", "2.", "weakest"]
    assert "1 unit with a neuron that is it in 90 % or more, 3 neurons never" in figure.layout.meta["alt"]


def test_the_original_order_is_that_of_the_layer():
    figure = charts.unit_heatmap(UNITS.sample(frac=1, random_state=0), original=True)
    assert cells(figure) == [[(unit, 3 * unit + member) for member in range(3)] for unit in range(4)]
    assert figure.data[0].z[3].tolist() == [0, 0, 100]
    assert list(figure.layout.xaxis.ticktext) == ["neuron 1", "neuron 2", "neuron 3"]


@pytest.mark.parametrize(("count", "k"), [(1, 2), (125, 4), (8192, 2), (1024, 16)])
def test_every_neuron_has_one_cell_of_one_byte(count, k):
    table = unit_table(count, k)
    for original in (False, True):
        figure = charts.unit_heatmap(table, original)
        heat = figure.data[0]
        assert (heat.z.dtype, heat.z.shape) == (np.uint8, (count, k))
        assert len(figure.to_json()) < 500_000
        assert figure.layout.height < 600
        neurons = heat.customdata[..., 1].astype(int)
        assert sorted(neurons.ravel()) == list(range(count * k))
        assert (neurons // k == heat.customdata[..., 0]).all(), "a neuron stays in its unit"
        np.testing.assert_allclose(heat.customdata[..., 2], 100 * table.relevance.to_numpy()[neurons], atol=1e-4)
        assert np.abs(heat.z - heat.customdata[..., 2]).max() <= 0.5 + 1e-4
        if not original:
            assert (np.diff(heat.customdata[..., 2], axis=1) <= 0).all()
            assert (np.diff(heat.customdata[:, 0, 2]) <= 0).all()


@pytest.mark.parametrize("k", [2, 4, 16])
def test_the_middle_of_cividis_is_an_even_share(k):
    axis = charts.unit_heatmap(unit_table(8, k)).layout.coloraxis
    assert (axis.cmin, axis.cmax) == (0, 100)
    places = [place for place, _ in axis.colorscale]
    assert places[len(places) // 2] == pytest.approx(1 / k)
    assert (np.diff(places) > 0).all()
    middle = charts.unit_heatmap(unit_table(8, 2)).layout.coloraxis.colorscale[10][1]
    assert axis.colorscale[10][1] == middle, "one colour for an even share, whatever k"
    numbers = [tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in sequential.Cividis]
    assert axis.colorscale[-1][1].replace(" ", "") == "rgb({},{},{})".format(*numbers[-1])


def test_unevenness_counts_every_unit_once_by_its_strongest():
    table = unit_table(300, 4)
    bars = charts.unevenness(table).data[0]
    strongest = table.groupby("unit").relevance.max()
    assert sum(bars.y) == 300
    edges = np.append(bars.customdata[:, 0], bars.customdata[-1, 1]) / 100
    assert (edges[0], edges[-1]) == (0.25, 1)
    np.testing.assert_array_equal(bars.y, np.histogram(strongest, edges)[0])
    even = pd.DataFrame({"unit": [0, 0], "member": [0, 1], "neuron": [0, 1], "relevance": [0.5, 0.5]})
    assert charts.unevenness(even).data[0].y[0] == 1


def test_the_weakest_of_each_unit_is_set_against_an_even_share():
    later = pd.DataFrame({"unit": [0, 0, 1, 1], "member": [0, 1] * 2, "relevance": [0.25, 0.75, 0.5, 0.5]})
    both = pd.concat([UNITS.assign(iteration=0, layer="fc1"), later.assign(iteration=1, layer="fc1")])
    (line,) = charts.unit_history(both).data
    np.testing.assert_allclose(line.y, [100 * 3 * (0.25 + 0.125 + 0 + 0) / 4, 100 * 2 * (0.25 + 0.5) / 2])
    assert [list(row[2:]) for row in line.customdata] == [[4, 3], [2, 2]]
    assert line.name == "fc1"


def test_units_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="members 0 to 2"):
        charts.unit_heatmap(UNITS.drop(index=4))


# --- weight pruning ---

def test_sparsity_is_the_share_of_zeros():
    lines = charts.sparsity_history(zero_table(LENET)).data
    assert [line.name for line in lines] == [f"{name} 30\u00a0%" for name in LENET], "lines may hide each other"
    for line in lines:
        np.testing.assert_allclose(line.y, [10, 20, 30])
    assert list(lines[2].customdata[0]) == ["fc1", "10.0 %", 30, 300]
    assert "%{customdata[2]:,} zeros, %{customdata[3]:,} weights" in lines[0].hovertemplate
    (heat,) = charts.sparsity_history(zero_table(VGG)).data
    assert heat.z.shape == (13, 3)
    assert heat.colorscale[-1][1] == marks.ACCENT


def test_of_many_layers_the_heaviest_have_their_own_row():
    table = zero_table(DEEP)
    heat = charts.sparsity_history(table).data[0]
    names = [row[0][0] for row in heat.customdata]
    assert names == [*list(DEEP)[-12:], "324 others"]
    first = table[table.iteration.eq(1) & ~table.layer.isin(names)]
    assert list(heat.customdata[-1][0][2:]) == [first.zeros.sum(), first.weights.sum()]


def test_counts_and_bytes_have_charts_of_their_own():
    dense, sparse = charts.parameter_history(SIZES).data
    assert (list(dense.y), list(sparse.y)) == ([1000, 800, 800], [1000, 799, 160])
    figure = charts.byte_history(SIZES.iloc[::-1])  # the order of rows does not matter
    dense, sparse = figure.data
    assert (list(dense.y), list(sparse.y)) == ([4000, 3200, 3200], [4000, 3200, 900])
    assert figure.layout.yaxis.title.text == "bytes"
    assert figure.layout.yaxis.rangemode == "tozero", "a saving is not blown up"
    assert "at the end 3,200 dense file, 900 sparse file" in figure.layout.meta["alt"]


def test_the_frontier_says_what_its_size_is():
    assert charts.frontier(POINTS).layout.xaxis.title.text == "compression"
    figure = charts.frontier(POINTS, size="compression, non-zero")
    assert figure.layout.xaxis.title.text == "compression, non-zero"
    assert "over compression, non-zero of 2 runs" in figure.layout.meta["alt"]


# --- verification ---

def test_each_curve_has_its_area():
    figure = charts.roc(ROC)
    base, result = trace(figure, "base: AUC 0.8750"), trace(figure, "result: AUC 0.9375")
    assert (list(base.x), list(base.y)) == ([0, 25, 100], [0, 100, 100])
    assert (list(result.x), list(result.y)) == ([0, 12.5, 50, 100], [0, 75, 100, 100])
    assert base.line.color != result.line.color
    assert figure.layout.meta["alt"] == "ROC of 2 verifications, with the area beneath: base 0.8750, result 0.9375."


def test_verification_has_its_standard_error_where_there_is_one():
    (line,) = charts.verification_history(VERIFIED).data
    np.testing.assert_allclose(line.y, [90, 92, 88])
    np.testing.assert_allclose(line.error_y.array, [1, 0, 2])
    assert list(line.customdata) == [" ± 1.00", "", " ± 2.00"]
