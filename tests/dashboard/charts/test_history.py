"""Charts by iteration."""

import numpy as np
import pandas as pd

from dashboard import charts
from tests.dashboard.charts.examples import DEEP, LENET, POINTS, VGG, history_table, trace


def test_histories_of_many_layers_summarize_the_rest():
    table = history_table(DEEP)
    cells = charts.apoz_history(table).data[0]
    pruned = table.groupby("layer", sort=False).pruned.sum()
    own = pruned.sort_values(ascending=False, kind="stable").index[:12]
    assert [row[0][0] for row in cells.customdata] == [name for name in DEEP if name in set(own)] + ["324 others"]
    others = table[~table.layer.isin(own)]
    for column, (_, rows) in enumerate(others.groupby("iteration")):
        assert cells.customdata[-1][column][2] == rows.width.sum()
        np.testing.assert_allclose(cells.z[-1][column], 100 * np.average(rows.apoz_mean, weights=rows.width), rtol=1e-6)


def test_histories_are_lines_for_few_layers_and_a_heatmap_for_many():
    for chart, first in [(charts.apoz_history, 80), (charts.width_history, 100)]:
        lines = chart(history_table(LENET)).data
        assert [line.name for line in lines] == list(LENET)
        np.testing.assert_allclose([line.y[0] for line in lines], first)
        (heat,) = chart(history_table(VGG)).data
        assert heat.z.shape == (13, 3)
        np.testing.assert_allclose(heat.z[:, 0], first)
    np.testing.assert_allclose(charts.width_history(history_table(LENET)).data[2].y, [100, 80, 60])


def test_the_frontier_has_one_line_per_run_and_hides_initial_accuracies():
    reference = pd.DataFrame({"label": ["row"], "compression": [2.5], "metric": [0.99]})
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


def test_the_frontier_labels_its_size():
    assert charts.frontier(POINTS).layout.xaxis.title.text == "compression"
    figure = charts.frontier(POINTS, size="compression, non-zero")
    assert figure.layout.xaxis.title.text == "compression, non-zero"
    assert "by compression, non-zero for 2 runs" in figure.layout.meta["alt"]
