"""Charts of maxout units, with small examples."""

import numpy as np
import pandas as pd
import pytest
from plotly.colors import sequential

from dashboard import charts
from tests.dashboard.charts.examples import unit_table

UNITS = pd.DataFrame({  # of three members; the second and third unit differ only in their second-strongest neuron
    "unit": [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, "member": [0, 1, 2] * 4, "neuron": range(12),
    "relevance": [0.25, 0.5, 0.25, 0.125, 0.125, 0.75, 0.25, 0.75, 0, 0, 0, 1],
})


def cells(figure) -> list[list[tuple[int, int]]]:
    """(unit, neuron) of each cell."""
    return [[(int(u), int(n)) for u, n, _ in row] for row in figure.data[0].customdata]


def test_units_are_sorted_by_imbalance_and_neurons_by_relevance():
    figure = charts.unit_heatmap(UNITS)
    assert cells(figure) == [
        [(3, 11), (3, 9), (3, 10)], [(2, 7), (2, 6), (2, 8)], [(1, 5), (1, 3), (1, 4)], [(0, 1), (0, 0), (0, 2)],
    ]
    assert figure.data[0].z.tolist() == [[100, 0, 0], [75, 25, 0], [75, 12, 12], [50, 25, 25]]
    assert list(figure.layout.xaxis.ticktext) == ["strongest", "2nd", "weakest"]
    alt = figure.layout.meta["alt"]
    assert "1 unit with a neuron that is the maximum at least 90 % of the time" in alt
    assert "3 neurons that are never the maximum" in alt


def test_units_in_the_order_of_the_layer():
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
def test_the_middle_of_the_colour_scale_is_an_even_share(k):
    axis = charts.unit_heatmap(unit_table(8, k)).layout.coloraxis
    assert (axis.cmin, axis.cmax) == (0, 100)
    places = [place for place, _ in axis.colorscale]
    assert places[len(places) // 2] == pytest.approx(1 / k)
    assert (np.diff(places) > 0).all()
    middle = charts.unit_heatmap(unit_table(8, 2)).layout.coloraxis.colorscale[10][1]
    assert axis.colorscale[10][1] == middle, "one colour for an even share, for any k"
    numbers = [tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in sequential.Cividis]
    assert axis.colorscale[-1][1].replace(" ", "") == "rgb({},{},{})".format(*numbers[-1])


def test_imbalance_counts_every_unit_once():
    table = unit_table(300, 4)
    bars = charts.unit_imbalance(table).data[0]
    strongest = table.groupby("unit").relevance.max()
    assert sum(bars.y) == 300
    edges = np.append(bars.customdata[:, 0], bars.customdata[-1, 1]) / 100
    assert (edges[0], edges[-1]) == (0.25, 1)
    np.testing.assert_array_equal(bars.y, np.histogram(strongest, edges)[0])
    even = pd.DataFrame({"unit": [0, 0], "member": [0, 1], "neuron": [0, 1], "relevance": [0.5, 0.5]})
    assert charts.unit_imbalance(even).data[0].y[0] == 1


def test_the_weakest_neuron_is_relative_to_an_even_share():
    later = pd.DataFrame({"unit": [0, 0, 1, 1], "member": [0, 1] * 2, "relevance": [0.25, 0.75, 0.5, 0.5]})
    both = pd.concat([UNITS.assign(iteration=0, layer="fc1"), later.assign(iteration=1, layer="fc1")])
    (line,) = charts.unit_history(both).data
    np.testing.assert_allclose(line.y, [100 * 3 * (0.25 + 0.125 + 0 + 0) / 4, 100 * 2 * (0.25 + 0.5) / 2])
    assert [list(row[2:]) for row in line.customdata] == [[4, 3], [2, 2]]
    assert line.name == "fc1"


def test_units_of_different_sizes_are_rejected():
    with pytest.raises(ValueError, match="members 0 to 2"):
        charts.unit_heatmap(UNITS.drop(index=4))
