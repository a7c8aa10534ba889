"""Charts by layer, compared with plain sums."""

import numpy as np
import pandas as pd
import pytest

from dashboard import charts
from dashboard.charts import marks
from tests.dashboard.charts.examples import DEEP, LENET, WIDTHS, halved, layer_table, trace


def test_the_butterfly_shows_shares():
    layers = layer_table(LENET)
    parameters, macs, legend = charts.butterfly(layers).data
    np.testing.assert_allclose(parameters.x, -100 * layers.parameters / layers.parameters.sum())
    np.testing.assert_allclose(macs.x, 100 * layers.macs / layers.macs.sum())
    assert list(parameters.marker.color) == [marks.ACCENT, marks.ACCENT, marks.FROZEN.colour]
    assert "frozen" in legend.name


def test_the_widths_preview_splits_each_bar():
    figure = charts.widths_preview(WIDTHS)
    kept, removed = trace(figure, "kept"), trace(figure, "removed")
    np.testing.assert_allclose(kept.x, [100, 78, 85.2])
    np.testing.assert_allclose(np.add(kept.x, removed.x), 100)
    assert [text.strip() for text in figure.data[2].text] == ["20", "50 → 39", "500 → 426"]
    with pytest.raises(ValueError, match="grow in conv2"):
        charts.widths_preview(WIDTHS.assign(after=[20, 51, 500]))


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
    assert list(free.y) == [2, 7]  # partly frozen blocks; the last one contains the output
    np.testing.assert_allclose(free.x[0], -100 * third / layers.parameters.sum())
    assert whole.customdata[2][1].startswith("42 layers, ")
    assert whole.customdata[2][4] == "<br>1 of them frozen"


def test_parts_without_neurons():
    layers = pd.DataFrame({"layer": ["mlp", "attention"], "kind": ["linear", "fixed"], "width": [8, 0],
                           "parameters": [10, 30], "macs": [5, 5], "frozen": ["", "no rule"]})
    details = charts.butterfly(layers).data[0].customdata
    assert [row[1] for row in details] == ["linear, 8 neurons", "fixed"]


def test_the_most_trimmed_of_many_layers_have_their_own_rows():
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


def test_a_single_remaining_layer_has_its_own_row():
    for count, rows in ((41, 41), (42, 41)):
        few = halved({f"l{k}": 100 for k in range(count)})
        assert len(trace(charts.widths_preview(few), "kept").customdata) == rows
