"""The tree of runs: which run branched from which, with the size and metric of each iteration."""

import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dashboard.charts.marks import CONTRAST, FINAL, GREY
from dashboard.charts.tables import counted, require, rows_of
from dashboard.charts.values import phrase
from trimcore.tables import ACCURACY, Metric

NODES = ["run", "label", "iteration", "state", "compression", "metric", "configuration", "cut", "result", "parent",
         "parent_iteration"]  # fmt: skip
ROW, AROUND = 44, 60  # pixels: a branch with its values; above and below all
MAX_LABELLED = 10  # with more columns, only results are labelled, because labels would overlap on a narrow screen
MAX_DEPTH = 200  # columns; JSON that is nested much deeper cannot be written
MAX_WIDTHS = 600  # with more nodes, the hover text leaves out the widths, which would make the chart too large
MAX_NAME = 18  # characters of a run's name next to its last node
SMALLEST, LARGEST = 8, 22  # node diameters in pixels; the area is the share of remaining parameters
HIDDEN = {"name": "", "symbol": "none"}
Place = tuple[str, int]  # a run and its iteration; -1 for a run without any


class RunTree(NamedTuple):
    """spec: an ECharts option. places: what is at each index that a selection gives. height in pixels. alt: the alt
    text."""

    spec: dict[str, Any]
    places: list[Place | None]
    height: int
    alt: str


def run_tree(
    nodes: pd.DataFrame, selected: str = "", chosen: Place | None = None,
    metrics: Mapping[str, Metric] | None = None, text_colour: str = GREY,
) -> RunTree:  # fmt: skip
    """The tree of runs, one node per iteration. A branch continues from the iteration that it branched from. Its own
    iteration 0 is the same network, so it is only drawn while it is the only one.

    nodes: columns NODES, one row per iteration, or one for a run without any (iteration is then NaN). run: its id.
    compression: base parameters / parameters. metric: NaN while unknown. result: whether the iteration is the run's
    result. parent, parent_iteration: None for a root. selected: the run whose name is bold. chosen: the iteration with
    a ring around it. metrics: run -> its metric, by default accuracy. text_colour: of the labels. Names are shown
    literally, never as markup.
    """
    nodes = require(nodes, "nodes", NODES).sort_values("iteration", kind="stable")
    metrics, there = metrics or {}, nodes.dropna(subset="iteration")
    runs: dict[str, list[Any]] = {}
    for row in rows_of(nodes):
        runs.setdefault(row.run, []).append(row)
    above = _above(runs)
    rows = _drawn(runs, above)
    chosen = above[chosen[0]] if chosen and _hidden(chosen, runs, above) else chosen
    labelled, widths = _columns(rows, above) <= MAX_LABELLED, len(there) <= MAX_WIDTHS
    drawn: dict[Place, dict[str, Any]] = {}
    for run, own in rows.items():
        metric = metrics.get(run, ACCURACY)
        for row in own:
            value = _short(metric, row.metric) if labelled or row.result else ""
            name = _name(row) if row is own[-1] else ""
            drawn[_place(row)] = {
                "name": _hover_text(row, widths, metric), "place": _place(row), "children": [],
                "symbolSize": _size(row.compression), "itemStyle": _style(row.result, _place(row) == chosen),
                "label": {"formatter": _literal(f"{value}  {name}".strip()), "position": "top",
                          "fontWeight": "bold" if row.result or (name and run == selected) else "normal"},
            }  # fmt: skip
    roots = _joined(drawn, rows, above)
    leaves = [node for node in drawn.values() if not node["children"]]
    forks = [node for node in drawn.values() if len(node["children"]) > 1]
    for node in leaves:
        node["label"]["position"] = "right"
    # the chart has one root
    root = roots[0] if len(roots) == 1 else {
        **HIDDEN, "children": [{**node, "lineStyle": {"width": 0}} for node in roots]
    }  # fmt: skip
    series = {
        "type": "tree", "data": [root], "orient": "LR", "symbol": "circle", "top": 36, "bottom": 24, "left": 24,
        "right": 150, "expandAndCollapse": False, "initialTreeDepth": -1, "selectedMode": "single",
        "label": {"color": text_colour, "verticalAlign": "middle", "distance": 6},
        "lineStyle": {"color": GREY, "width": 2},
        "tooltip": {"formatter": "{b}", "extraCssText": "white-space: pre-line"},
    }  # fmt: skip
    return RunTree(
        {"animation": False, "tooltip": {}, "series": [series]}, [None, *_in_preorder(root)],
        AROUND + ROW * (len(leaves) + len(forks) + 1), _alt(there, len(runs), len(above), metrics),
    )  # fmt: skip


def _place(row: Any) -> Place:
    return row.run, -1 if pd.isna(row.iteration) else int(row.iteration)


def _above(runs: dict[str, list[Any]]) -> dict[str, Place]:
    """Run -> the iteration that it continues from, where that exists."""
    known = {_place(row) for rows in runs.values() for row in rows}
    branched = {run: rows[0] for run, rows in runs.items() if pd.notna(rows[0].parent)}
    above = {run: (row.parent, int(row.parent_iteration)) for run, row in branched.items()}
    above = {run: place for run, place in above.items() if place in known}
    for run in above:
        while _hidden(above[run], runs, above):
            above[run] = above[above[run][0]]
    return above


def _hidden(place: Place, runs: dict[str, list[Any]], above: dict[str, Place]) -> bool:
    """Whether an iteration is drawn as the one that its run branched from, which is the same network."""
    run, iteration = place
    return iteration == 0 and run in above and len(runs[run]) > 1


def _drawn(runs: dict[str, list[Any]], above: dict[str, Place]) -> dict[str, list[Any]]:
    """The rows to draw; of a very deep tree, only some."""
    rows = {run: [row for row in own if not _hidden(_place(row), runs, above)] for run, own in runs.items()}
    if sum(map(len, rows.values())) <= MAX_DEPTH:
        return rows
    return {
        run: [row for number, row in enumerate(own)
              if number % -(-len(own) * len(runs) // MAX_DEPTH) == 0 or row is own[-1] or row.result
              or _place(row) in above.values()]
        for run, own in rows.items()
    }  # fmt: skip


def _columns(rows: dict[str, list[Any]], above: dict[str, Place]) -> int:
    """The number of columns of the tree."""

    def column(place: Place) -> int:
        before = column(above[place[0]]) + 1 if place[0] in above else 0
        return before + list(map(_place, rows[place[0]])).index(place)

    return 1 + max(column(_place(own[-1])) for own in rows.values())


def _joined(
    drawn: dict[Place, dict[str, Any]], rows: dict[str, list[Any]], above: dict[str, Place]
) -> list[dict[str, Any]]:
    """Give each node its children: the next iteration, then the branches. Returns the roots."""
    roots: list[dict[str, Any]] = []
    for own in rows.values():
        places = list(map(_place, own))
        for before, after in zip(places, places[1:], strict=False):
            drawn[before]["children"].append(drawn[after])
    for run, own in rows.items():
        first = drawn[_place(own[0])]
        (drawn[above[run]]["children"] if run in above else roots).append(first)
    return roots


def _in_preorder(root: dict[str, Any]) -> list[Place | None]:
    """The places of the nodes in the order in which ECharts numbers them."""
    places, rest = [], [root]
    while rest:
        node = rest.pop()
        places.append(node.pop("place", None))
        rest += reversed(node["children"])
    return places


def _style(result: bool, chosen: bool) -> dict[str, Any]:
    ring = {"borderColor": CONTRAST, "borderWidth": 3} if chosen else {"borderWidth": 0}
    return {"color": FINAL.colour if result else GREY, **ring}


def _size(compression: float) -> float:
    """The diameter of a node. Its area shrinks with the share of remaining parameters."""
    left = 1 / max(1.0, compression if pd.notna(compression) else 1.0)
    return round(float(np.sqrt(SMALLEST**2 + (LARGEST**2 - SMALLEST**2) * left)), 1)


def _short(metric: Metric, value: float) -> str:
    """A value as the label of a node, without a unit."""
    return "" if pd.isna(value) else f"{100 * value:.1f}" if metric.percent else f"{value:.3g}"


def _name(row: Any) -> str:
    text = row.label if len(row.label) <= MAX_NAME else f"{row.label[: MAX_NAME - 1]}…"
    return text if row.state == "finished" else f"{text}, {row.state}"


def _literal(text: str) -> str:
    """Text in which ECharts replaces nothing: it would take "{b}" for a variable."""
    return text.replace("{", "{\u200b")


def _hover_text(row: Any, widths: bool, metric: Metric) -> str:
    if pd.isna(row.iteration):
        return f"{textwrap.shorten(row.label, 60, placeholder=' …')}, no iteration yet"
    value = "" if pd.isna(row.metric) else f"{metric.text(row.metric)}, ".replace("%", " %")
    if value and not metric.is_accuracy:
        value = f"{textwrap.shorten(metric.name, 30, placeholder=' …')} {value}"
    lines = [f"{textwrap.shorten(row.label, 60, placeholder=' …')}, iteration {int(row.iteration)}"]
    lines += [f"{value}compression {row.compression:.2f}×"]
    lines += [f"removed: {row.cut}"] * bool(row.cut)
    lines += [row.configuration] * (widths and bool(row.configuration))
    return "\n".join(_wrapped(line) for line in lines)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(textwrap.shorten(text, 160, placeholder=" …"), 52))


def _alt(nodes: pd.DataFrame, runs: int, branches: int, metrics: Mapping[str, Metric]) -> str:
    alt = f"Tree of {counted(runs, 'run')} with {counted(len(nodes), 'iteration')}; "
    alt += f"{counted(branches, 'run')} branched from another"
    best = nodes[nodes.result].dropna(subset="metric")
    if best.empty:
        return alt + "."
    small = best.iloc[best.compression.argmax()]
    value = phrase(metrics.get(small.run, ACCURACY), small.metric)
    size = f"compressed {small.compression:.1f} times with {value}"
    return f"{alt}; the smallest result, of {small.label}, is {size}."
