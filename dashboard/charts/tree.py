"""The tree of runs: which run branched from which, with the size and metric of each iteration."""

import html
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, integer_step, segments
from dashboard.charts.marks import CONTRAST, FINAL, GREY
from dashboard.charts.tables import counted, require, rows_of
from dashboard.charts.values import phrase
from trimcore.tables import ACCURACY, Metric

NODES = ["run", "label", "row", "depth", "iteration", "state", "compression", "metric", "configuration", "cut",
         "result", "parent_row"]  # fmt: skip
ROW, AROUND = 44, 128  # pixels: a node with its value; legend and axis
MAX_LABELLED = 10  # with more columns, only results are labelled, because labels would overlap on a narrow screen
MAX_WIDTHS = 600  # with more nodes, the hover text leaves out the widths, which would make the figure too large
MAX_NAME = 18  # characters of a run's name next to its row
SMALLEST, LARGEST = 8, 22  # node diameters in pixels; the area is the share of remaining parameters
PAD = 6 * "\u00a0"  # after a node
BEND = 0.38  # of a column: how far a branch curves to the left


def run_tree(
    nodes: pd.DataFrame, selected: str = "", chosen: tuple[str, int] | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> go.Figure:  # fmt: skip
    """The tree of runs. One row per run, one node per iteration. A branch starts below the iteration it branched from.

    nodes: columns NODES, one row per iteration, or one for a run without any (iteration is then NaN). run: its id. row:
    counted from the top. depth: the column. compression: base parameters / parameters. metric: NaN while
    unknown. result: whether the iteration is the run's result. parent_row: NaN for a root. selected: the run whose name
    is bold. chosen: (run, iteration) with a ring around it. metrics: run -> its metric, by default accuracy. The
    customdata of a node are its run and iteration. Names are shown literally, never as markup.
    """
    metrics = metrics or {}
    nodes = require(nodes, "nodes", NODES).sort_values(["row", "depth"], ignore_index=True)
    there = nodes.dropna(subset="iteration")
    runs = nodes.groupby("row").agg(
        run=("run", "first"), label=("label", "first"), state=("state", "first"), start=("depth", "min"),
        end=("depth", "max"), parent=("parent_row", "first"),
    ).reset_index()  # fmt: skip
    wide = nodes.depth.nunique() > MAX_LABELLED
    texts = np.array([_hover_text(node, len(there) <= MAX_WIDTHS, metrics.get(node.run, ACCURACY))
                      for node in rows_of(there)], dtype=object)
    traces = [_row_lines(runs), _branches(runs)]
    for is_result, name, colour in ((False, "iteration", GREY), (True, "result", FINAL.colour)):
        mask = (there.result == is_result).to_numpy()
        own = there[mask]
        shape = "<b>{}</b>" if is_result else "{}"
        repeated = own.parent_row.notna() & (own.iteration == 0) & (not is_result)  # the parent's node shows it
        labels = ["" if known or pd.isna(value) else shape.format(_short(metrics.get(run, ACCURACY), value))
                  for run, value, known in zip(own.run, own.metric, repeated, strict=True)]  # fmt: skip
        traces.append(go.Scatter(
            x=own.depth, y=own.row, name=name, mode="markers+text", textposition="top center", cliponaxis=False,
            text=labels if is_result or not wide else None, hovertext=texts[mask],
            marker=dict(color=colour, symbol=FINAL.symbol, size=_sizes(own.compression), line_width=0, opacity=1),
            customdata=[[run, int(iteration)] for run, iteration in zip(own.run, own.iteration, strict=True)],
            hovertemplate="%{hovertext}<extra></extra>",
            unselected_marker_opacity=1, selected_marker_opacity=1,
        ))  # fmt: skip
    traces += _unfinished(runs) + _ring(there, chosen)
    columns = int(nodes.depth.max())
    end = columns + (1.2 if (runs.state != "finished").any() else 0.6)
    return figure(
        traces, _alt(there, runs, metrics), AROUND + ROW * len(runs), hovermode="closest", clickmode="event+select",
        margin=dict(r=12),
        xaxis=dict(title="iterations since the base", range=[-0.6, end], showgrid=False, zeroline=False,
                   tickvals=list(range(0, columns + 1, integer_step(columns, 12))), fixedrange=True),
        yaxis=dict(tickvals=runs.row, ticktext=[_row_label(run, run.run == selected) for run in rows_of(runs)],
                   range=[len(runs) - 0.4, -0.75], showgrid=False, zeroline=False, automargin=True, fixedrange=True,
                   ticks=""),
    )  # fmt: skip


def _row_lines(runs: pd.DataFrame) -> go.Scatter:
    return go.Scatter(
        x=segments(runs.start, runs.end), y=segments(runs.row, runs.row), mode="lines", hoverinfo="skip",
        line=dict(color=GREY, width=2), showlegend=False,
    )  # fmt: skip


def _branches(runs: pd.DataFrame) -> go.Scatter:
    """A curve from the parent's iteration down to the branch, through the gap between two columns."""
    turn = np.linspace(0, 1, 13)
    x, y = [], []
    for run in rows_of(runs.dropna(subset="parent")):
        x += [*(run.start - BEND * np.sin(np.pi * turn) ** 0.6), None]
        y += [*(run.parent + (run.row - run.parent) * turn), None]
    return go.Scatter(
        x=x, y=y, mode="lines", line=dict(color=GREY, width=2), hoverinfo="skip", name="branch", showlegend=bool(x)
    )


def _unfinished(runs: pd.DataFrame) -> list[go.Scatter]:
    """The states of the runs that are not finished, after their last nodes."""
    others = runs[runs.state != "finished"]
    return [go.Scatter(
        x=others.end, y=others.row, mode="text", text=[f"{PAD}{state}" for state in others.state],
        textposition="middle right", textfont_color=CONTRAST, cliponaxis=False, hoverinfo="skip", showlegend=False,
    )] if len(others) else []  # fmt: skip


def _ring(nodes: pd.DataFrame, chosen: tuple[str, int] | None) -> list[go.Scatter]:
    if chosen is None:
        return []
    own = nodes[(nodes.run == chosen[0]) & (nodes.iteration == chosen[1])]
    return [go.Scatter(
        x=own.depth, y=own.row, mode="markers", name="chosen", hoverinfo="skip", showlegend=len(own) > 0,
        marker=dict(symbol="circle-open", size=_sizes(own.compression) + 6, color=CONTRAST, line_width=2),
    )]  # fmt: skip


def _sizes(compression: pd.Series) -> np.ndarray:
    """The diameter of each node. Its area shrinks with the share of remaining parameters."""
    left = 1 / compression.astype(float).fillna(1).clip(lower=1)
    sizes: np.ndarray = np.sqrt(SMALLEST**2 + (LARGEST**2 - SMALLEST**2) * left.to_numpy()).round(1)
    return sizes


def _short(metric: Metric, value: float) -> str:
    """A value as the label of a node, without a unit."""
    return f"{100 * value:.1f}" if metric.percent else f"{value:.3g}"


def _hover_text(node: Any, widths: bool, metric: Metric) -> str:
    value = "" if pd.isna(node.metric) else f"{metric.text(node.metric)}, ".replace("%", " %")
    if value and not metric.is_accuracy:
        value = f"{_plain(metric.name, 30)} {value}"
    lines = [f"<b>{_plain(node.label, 60)}</b>, iteration {int(node.iteration)}"]
    lines += [f"{value}compression {node.compression:.2f}×"]
    lines += [f"removed: {_plain(node.cut, 120)}"] * bool(node.cut)
    lines += [_plain(node.configuration, 160)] * (widths and bool(node.configuration))
    return "<br>".join(lines)


def _plain(text: str, most: int) -> str:
    """User text for a chart, which interprets markup: escaped and wrapped into lines."""
    lines = textwrap.wrap(textwrap.shorten(text, most, placeholder=" …"), 52)
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def _row_label(run: Any, selected: bool) -> str:
    text = run.label if len(run.label) <= MAX_NAME else f"{run.label[: MAX_NAME - 1]}…"
    text = html.escape(text, quote=False)
    return f"<b>{text}</b>" if selected else text


def _alt(nodes: pd.DataFrame, runs: pd.DataFrame, metrics: Mapping[str, Metric]) -> str:
    branches = int(runs.parent.notna().sum())
    alt = f"Tree of {counted(len(runs), 'run')} with {counted(len(nodes), 'iteration')}; "
    alt += f"{counted(branches, 'run')} branched from another"
    best = nodes[nodes.result].dropna(subset="metric")
    if best.empty:
        return alt + "."
    small = best.iloc[best.compression.argmax()]
    value = phrase(metrics.get(small.run, ACCURACY), small.metric)
    size = f"compressed {small.compression:.1f} times with {value}"
    return f"{alt}; the smallest result, of {small.label}, is {size}."
