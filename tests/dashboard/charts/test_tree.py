"""The chart of the run tree: which nodes there are, and which follows which."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard import charts
from dashboard.charts.marks import CONTRAST, FINAL, GREY


def nodes(count: int, iterations: int = 4, configuration: str = "conv1 20", label: str = "run") -> pd.DataFrame:
    """`count` runs in a chain. Each branches from iteration 1 of the previous one."""
    return pd.DataFrame([
        {
            "run": f"id{number}", "label": f"{label} {number}", "iteration": iteration, "state": "finished",
            "compression": 1.5 ** (number + iteration), "metric": 0.98 - 0.01 * iteration,
            "configuration": configuration, "cut": "conv2 −9", "result": iteration == iterations - 1,
            "parent": f"id{number - 1}" if number else None, "parent_iteration": 1 if number else None,
        }
        for number in range(count) for iteration in range(iterations)
    ])


def all_nodes(tree: charts.RunTree) -> dict:
    """Place -> node. In the order in which ECharts numbers the nodes: its own root, the chart's root, its children."""
    found, rest = [None], [tree.spec["series"][0]["data"][0]]
    while rest:
        found.append(rest[0])
        rest = [*rest[0]["children"], *rest[1:]]
    assert len(found) == len(tree.places)
    return {place: node for place, node in zip(tree.places, found, strict=True) if place}


def children(tree: charts.RunTree) -> dict:
    """Place -> the places of its children."""
    known = all_nodes(tree)
    place_of = {id(node): place for place, node in known.items()}
    return {place: [place_of[id(child)] for child in node["children"]] for place, node in known.items()}


def label(node: dict) -> str:
    return node["label"]["formatter"]


def test_a_branch_continues_from_its_parents_iteration():
    assert children(charts.run_tree(nodes(3, 3))) == {
        ("id0", 0): [("id0", 1)], ("id0", 1): [("id0", 2), ("id1", 1)], ("id0", 2): [],
        ("id1", 1): [("id1", 2), ("id2", 1)], ("id1", 2): [], ("id2", 1): [("id2", 2)], ("id2", 2): [],
    }  # fmt: skip


def test_a_branch_from_the_start_of_a_branch_continues_from_the_same_iteration():
    table = nodes(3, 3)
    table.loc[table.run == "id2", "parent_iteration"] = 0  # of id1, which is iteration 1 of id0
    assert children(charts.run_tree(table))["id0", 1] == [("id0", 2), ("id1", 1), ("id2", 1)]


def test_runs_without_a_common_root_are_drawn_below_each_other():
    both = pd.concat([nodes(1), nodes(1).assign(run="other")])
    tree = charts.run_tree(both)
    root = tree.spec["series"][0]["data"][0]
    assert root["symbol"] == "none"
    assert [child["lineStyle"] for child in root["children"]] == [{"width": 0}] * 2
    assert tree.height == charts.run_tree(nodes(1)).height + 44


@st.composite
def forests(draw) -> pd.DataFrame:
    """Any forest: each run is a root or branches from an iteration of an older run that has it."""
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=12))
    table = []
    for number, length in enumerate(lengths):
        own = nodes(1, length) if length else nodes(1, 1).assign(iteration=None, metric=None, result=False)
        older = [place for place in range(number) if lengths[place]]
        parent = draw(st.none() | st.sampled_from(older)) if older else None
        table.append(own.assign(
            run=f"id{number}", parent=None if parent is None else f"id{parent}",
            parent_iteration=None if parent is None else draw(st.integers(0, lengths[parent] - 1)),
        ))  # fmt: skip
    return pd.concat(table)


@settings(deadline=None)
@given(forests())
def test_every_iteration_is_in_every_forest_once(table):
    tree = charts.run_tree(table)
    below = [child for own in children(tree).values() for child in own]
    assert len(below) == len(set(below))
    there = {(row.run, -1 if pd.isna(row.iteration) else int(row.iteration)) for row in table.itertuples()}
    first = {(run, 0) for run, rows in table.groupby("run") if pd.notna(rows.parent.iloc[0]) and len(rows) > 1}
    # iteration 0 of a branch is drawn as the iteration of its parent; if that is one itself, as its parent's
    assert set(all_nodes(tree)) == there - first


def test_a_branch_without_an_iteration_of_its_own_is_drawn():
    table = pd.concat([nodes(1), nodes(2, 1).query("run == 'id1'").assign(state="running", result=False)])
    tree = charts.run_tree(table)
    assert children(tree)["id0", 1] == [("id0", 2), ("id1", 0)]
    assert label(all_nodes(tree)["id1", 0]) == "98.0  run 1, running"


def test_the_chosen_iteration_has_a_ring():
    def ringed(chosen):
        drawn = all_nodes(charts.run_tree(nodes(2), chosen=chosen))
        return [place for place, node in drawn.items() if node["itemStyle"].get("borderColor") == CONTRAST]

    assert ringed(("id0", 2)) == [("id0", 2)]
    assert ringed(("id1", 0)) == [("id0", 1)], "the same network"
    assert ringed(None) == []


def test_node_sizes_follow_the_remaining_parameters():
    table = nodes(1)
    table["compression"] = [1, 2, 4, 8]
    sizes = np.array([node["symbolSize"] for node in all_nodes(charts.run_tree(table)).values()])
    areas = sizes**2 - 64  # above the smallest
    assert areas == pytest.approx(areas[0] / np.array([1, 2, 4, 8]), rel=0.06)


def test_results_have_the_colour_of_results():
    drawn = all_nodes(charts.run_tree(nodes(1)))
    assert [node["itemStyle"]["color"] for node in drawn.values()] == [GREY, GREY, GREY, FINAL.colour]


def test_all_nodes_are_labelled_only_if_there_are_few_columns():
    assert list(map(label, all_nodes(charts.run_tree(nodes(1))).values())) == ["98.0", "97.0", "96.0", "95.0  run 0"]
    many = [label(node) for node in all_nodes(charts.run_tree(nodes(1, 30))).values()]
    assert many == [*[""] * 29, "69.0  run 0"]
    chain = [label(node) for node in all_nodes(charts.run_tree(nodes(5, 7))).values()]
    assert chain.count("") == 5 * 5 + 1, "eleven columns, though no run has more than seven"


def test_the_name_of_the_selected_run_is_bold():
    running = nodes(2).assign(state="running", result=False)
    drawn = all_nodes(charts.run_tree(running, "id1"))
    assert {place: node["label"]["fontWeight"] for place, node in drawn.items() if "run" in label(node)} == {
        ("id0", 3): "normal", ("id1", 3): "bold"}  # fmt: skip


def test_runs_that_are_not_finished_show_their_state():
    table = pd.concat([nodes(1).assign(state="running"), pd.DataFrame([{
        "run": "new", "label": "new", "state": "failed", "configuration": "", "cut": "", "result": False,
    }])])  # fmt: skip
    drawn = all_nodes(charts.run_tree(table))
    assert [label(drawn["id0", 3]), label(drawn["new", -1])] == ["95.0  run 0, running", "new, failed"]


def test_names_are_literal():
    """A tooltip shows its text as text; "{b}" would be replaced by ECharts."""
    node = all_nodes(charts.run_tree(nodes(1, 1, label="{b} <b>x</b>")))["id0", 0]
    assert label(node) == "98.0  {\u200bb} <b>x</b> 0"
    assert node["name"].startswith("{b} <b>x</b> 0, iteration 0\n")


def test_the_largest_trees_are_light_and_can_be_written():
    table = nodes(25, 60, " · ".join(f"features.{k} {k}" for k in range(90)), "a long name of a run " * 3)
    assert len(json.dumps(charts.run_tree(table).spec)) < 500_000
    long = charts.run_tree(nodes(3, 1000))
    assert len(json.dumps(long.spec)) < 500_000
    assert {("id0", 0), ("id0", 1), ("id0", 999), ("id2", 999)} < set(all_nodes(long))
