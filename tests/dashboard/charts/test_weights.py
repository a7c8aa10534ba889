"""Charts of weight pruning: zeros, parameters, bytes."""

import numpy as np

from dashboard import charts
from dashboard.charts import marks
from tests.dashboard.charts.examples import DEEP, LENET, SIZES, VGG, zero_table


def test_sparsity_is_the_share_of_zeros():
    lines = charts.sparsity_history(zero_table(LENET)).data
    assert [line.name for line in lines] == [f"{name} 30\u00a0%" for name in LENET], "lines may overlap"
    for line in lines:
        np.testing.assert_allclose(line.y, [10, 20, 30])
    assert list(lines[2].customdata[0]) == ["fc1", "10.0 %", 30, 300]
    assert "%{customdata[2]:,} zeros, %{customdata[3]:,} weights" in lines[0].hovertemplate
    (heat,) = charts.sparsity_history(zero_table(VGG)).data
    assert heat.z.shape == (13, 3)
    assert heat.colorscale[-1][1] == marks.ACCENT


def test_the_largest_of_many_layers_have_their_own_rows():
    table = zero_table(DEEP)
    heat = charts.sparsity_history(table).data[0]
    names = [row[0][0] for row in heat.customdata]
    assert names == [*list(DEEP)[-12:], "324 others"]
    first = table[table.iteration.eq(1) & ~table.layer.isin(names)]
    assert list(heat.customdata[-1][0][2:]) == [first.zeros.sum(), first.weights.sum()]


def test_counts_and_bytes_have_separate_charts():
    dense, sparse = charts.parameter_history(SIZES).data
    assert (list(dense.y), list(sparse.y)) == ([1000, 800, 800], [1000, 799, 160])
    figure = charts.byte_history(SIZES.iloc[::-1])  # rows in any order
    dense, sparse = figure.data
    assert (list(dense.y), list(sparse.y)) == ([4000, 3200, 3200], [4000, 3200, 900])
    assert figure.layout.yaxis.title.text == "bytes"
    assert figure.layout.yaxis.rangemode == "tozero", "the axis does not exaggerate savings"
    assert "at the end 3,200 dense file, 900 sparse file" in figure.layout.meta["alt"]
