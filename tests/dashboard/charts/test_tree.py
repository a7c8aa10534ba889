"""The chart of the run tree: positions of nodes and branches."""

import numpy as np
import pandas as pd
import pytest

from dashboard import charts
from tests.dashboard.charts.examples import trace


def nodes(count: int, iterations: int = 4, configuration: str = "conv1 20", label: str = "run") -> pd.DataFrame:
    """`count` runs in a chain. Each branches from iteration 1 of the previous one."""
    return pd.DataFrame([
        {
            "run": f"id{row}", "label": f"{label} {row}", "row": row, "depth": row + iteration, "iteration": iteration,
            "state": "finished", "compression": 1.5 ** (row + iteration), "metric": 0.98 - 0.01 * iteration,
            "configuration": configuration, "cut": "conv2 −9", "result": iteration == iterations - 1,
            "parent_row": row - 1 if row else None,
        }
        for row in range(count) for iteration in range(iterations)
    ])


@pytest.mark.parametrize("count", [1, 3, 25])
def test_every_node_is_at_its_position(count):
    table = nodes(count)
    figure = charts.run_tree(table, "id0", ("id0", 2))
    both = [trace(figure, name) for name in ("iteration", "result")]
    drawn = {(*place, x, y) for own in both for place, x, y in zip(own.customdata, own.x, own.y, strict=True)}
    assert drawn == set(table[["run", "iteration", "depth", "row"]].itertuples(index=False, name=None))
    assert len(trace(figure, "result").x) == count
    ring = trace(figure, "chosen")
    assert (ring.x, ring.y) == ((2,), (0,))
    assert f"{count} run" in figure.layout.meta["alt"]
    assert figure.layout.yaxis.ticktext[0] == "<b>run 0</b>"
    assert figure.layout.height <= 128 + 44 * 25


def test_node_sizes_follow_the_remaining_parameters():
    table = nodes(1)
    table["compression"] = [1, 2, 4, 8]
    sizes = np.concatenate([trace(charts.run_tree(table), n).marker.size for n in ("iteration", "result")])
    areas = sizes**2 - 64  # above the smallest
    assert areas == pytest.approx(areas[0] / np.array([1, 2, 4, 8]), rel=0.06)


def test_curves_connect_the_parent_iteration_to_the_branch():
    curve = next(t for t in charts.run_tree(nodes(3)).data if t.name == "branch")
    first = list(zip(curve.x, curve.y, strict=True))[:13]
    assert first[0] == (1, 0)
    assert first[-1] == pytest.approx((1, 1))
    assert all(0.5 < x <= 1 for x, _ in first)
    assert curve.x.count(None) == 2


def test_all_nodes_are_labelled_only_if_there_are_few_columns():
    labels = list(trace(charts.run_tree(nodes(2)), "iteration").text)
    assert labels == ["98.0", "97.0", "96.0", "", "97.0", "96.0"], "a branch does not repeat its starting accuracy"
    many = charts.run_tree(nodes(1, 30))
    assert trace(many, "iteration").text is None
    assert list(trace(many, "result").text) == ["<b>69.0</b>"]


def test_runs_that_are_not_finished_show_their_state():
    table = pd.concat([nodes(1).assign(state="running"), pd.DataFrame([{
        "run": "new", "label": "new", "row": 1, "depth": 0, "state": "failed", "configuration": "", "cut": "",
        "result": False,
    }])])  # fmt: skip
    labels = [trace for trace in charts.run_tree(table).data if trace.mode == "text"]
    assert [text.strip("\u00a0") for text in labels[0].text] == ["running", "failed"]
    assert list(labels[0].x) == [3, 0]
    only = charts.run_tree(table[table.run == "new"].assign(row=0))
    assert not any(len(t.x) for t in only.data if t.name in ("iteration", "result"))


def test_names_are_escaped():
    evil = "<a href='http://example.org'>x</a><script>"
    figure = charts.run_tree(nodes(1, label=evil, configuration="<b>bold</b>"))
    shown = [*figure.layout.yaxis.ticktext, *trace(figure, "iteration").hovertext]
    assert not [text for text in shown if "<a" in text or "<script" in text or "<b>bold" in text]
    assert "&lt;b&gt;bold&lt;/b&gt;" in trace(figure, "iteration").hovertext[0]


def test_the_largest_tree_is_light():
    table = nodes(25, 60, " · ".join(f"features.{k} {k}" for k in range(90)), "a long name of a run " * 3)
    assert len(charts.run_tree(table).to_json()) < 500_000
