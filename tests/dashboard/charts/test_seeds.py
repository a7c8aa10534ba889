"""The frontier over seeds."""

import pandas as pd
import pytest

from dashboard import charts
from dashboard.compare import seeds
from tests.dashboard.charts.examples import trace


def test_error_bars_of_seeds_and_none_for_single_runs():
    rows = [("a", 0, 1, 0.98), ("b", 0, 1, 0.96), ("a", 1, 2, 0.95), ("b", 1, 4, 0.91), ("lone", 0, 1, 0.9)]
    points = pd.DataFrame(rows, columns=["run", "iteration", "compression", "metric_final"])
    means = seeds.mean_over_seeds(points.assign(metric_initial=None), {"a": "two", "b": "two"})
    figure = charts.seed_frontier(means)
    two, lone = trace(figure, "two"), trace(figure, "lone")
    assert list(two.x) == [1, 3]
    assert list(two.y) == pytest.approx([97, 93])
    assert list(two.error_y.array) == pytest.approx([2**0.5, 8**0.5])
    assert list(two.error_x.array) == pytest.approx([0, 2**0.5])
    assert list(lone.error_y.array) == [0]
    assert "means over seeds" in figure.layout.meta["alt"]
