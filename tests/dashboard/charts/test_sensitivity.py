"""The chart of the sensitivity of each layer."""

import pandas as pd
import plotly.graph_objects as go
import pytest

from dashboard.charts.sensitivity import MAX_LINES, sensitivity, value_at


def points_of(layers: int) -> pd.DataFrame:
    return pd.DataFrame([
        (f"layer{i}", share, round(20 * share), 0.9 - 0.1 * i * (1 - share) / layers)
        for i in range(layers) for share in (1.0, 0.5, 0.25)
    ], columns=["layer", "kept_fraction", "kept", "metric"])  # fmt: skip


def test_few_layers_are_lines_with_the_plan_marked():
    figure = sensitivity(points_of(2), 0.9, {"layer1": 0.75, "elsewhere": 0.1})
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [line.name for line in lines] == ["layer0", "layer1"]
    assert list(lines[1].x) == [100, 50, 25]
    assert list(lines[1].y) == pytest.approx([90, 87.5, 86.25])
    (mark,) = (trace for trace in figure.data if trace.mode == "markers")
    assert (list(mark.x), list(mark.customdata)) == ([75], ["layer1"])
    assert list(mark.y) == pytest.approx([88.75]), "on its line"
    assert "2 layers" in figure.layout.meta["alt"]
    assert "layer1" in figure.layout.meta["alt"]


def test_many_layers_are_a_heatmap_with_the_plan_marked():
    figure = sensitivity(points_of(MAX_LINES + 1), 0.9, {"layer3": 0.375})
    heat, mark = figure.data
    assert isinstance(heat, go.Heatmap)
    assert heat.z.shape == (MAX_LINES + 1, 3)
    assert heat.z[0] == pytest.approx([90, 90, 90])
    assert heat.z[3] == pytest.approx([90, 90 - 30 / 9 * 0.5, 90 - 30 / 9 * 0.75])
    assert (list(mark.y), list(mark.x)) == ([3], [1.5]), "between the columns of 50 % and 25 %"


def test_repeated_widths_of_a_narrow_layer_are_drawn_once():
    points = pd.DataFrame([("a", 1.0, 2, 0.9), ("a", 0.9, 2, 0.9), ("a", 0.5, 1, 0.7), ("a", 0.1, 1, 0.7)],
                          columns=["layer", "kept_fraction", "kept", "metric"])  # fmt: skip
    assert list(sensitivity(points, 0.9, {}).data[0].x) == [100, 50]
    assert value_at(points, "a", 0.75) == pytest.approx(0.8)
    assert value_at(points, "a", 0.1) == pytest.approx(0.7)
