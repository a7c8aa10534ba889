"""The chart of the runs: which came from which, and what each bought."""

import html
import textwrap

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, segments, whole_step
from dashboard.charts.marks import CONTRAST, FINAL, GREY
from dashboard.charts.tables import counted, percent, require

NODES = ["run", "label", "row", "depth", "iteration", "state", "compression", "accuracy", "configuration", "cut",
         "result", "parent_row"]  # fmt: skip
ROW, AROUND = 44, 128  # pixels: a node and its accuracy; legend and axis
LABELLED = 10  # more columns than this, and only results are labelled: on a narrow screen they would touch
TOLD = 600  # more nodes than this, and hovering no longer tells widths: the figure would become too large
LONGEST = 18  # characters of a run's name beside its row
SMALLEST, LARGEST = 8, 22  # pixels of a node: the area is what is left of the parameters
PAD = 6 * "\u00a0"  # past a node
BEND = 0.38  # of a column: how far a branch swings out


def run_tree(nodes: pd.DataFrame, selected: str = "", chosen: tuple[str, int] | None = None) -> go.Figure:
    """Which run came from which, and what did each buy? One row a run, one node an iteration; a branch begins beneath
    the iteration that it began at.

    nodes: columns NODES, one row an iteration, or one for a run without any (iteration is then NaN). run is its id, row
    counts from above, depth is the column; compression (base parameters / parameters) and accuracy (0..1, NaN while
    unknown); result tells the iteration that is the run's result; parent_row is NaN for a run that began anew.
    selected: the run whose name stands out. chosen: (run, iteration) with a ring around it. A node's customdata are
    its run and iteration. Names are shown as they are, never as markup.
    """
    nodes = require(nodes, "nodes", NODES).sort_values(["row", "depth"], ignore_index=True)
    there = nodes.dropna(subset="iteration")
    runs = nodes.groupby("row").agg(
        run=("run", "first"), label=("label", "first"), state=("state", "first"), start=("depth", "min"),
        end=("depth", "max"), parent=("parent_row", "first"),
    ).reset_index()  # fmt: skip
    wide = nodes.depth.nunique() > LABELLED
    told = np.array([_told(node, len(there) <= TOLD) for node in there.itertuples()], dtype=object)
    traces = [_row_lines(runs), _branches(runs)]
    for is_result, name, colour in ((False, "iteration", GREY), (True, "result of its run", FINAL.colour)):
        mask = (there.result == is_result).to_numpy()
        own = there[mask]
        shape = "<b>{:.1f}</b>" if is_result else "{:.1f}"
        begun = own.parent_row.notna() & (own.iteration == 0) & (not is_result)  # the network that it began with
        labels = ["" if known or pd.isna(value) else shape.format(100 * value)
                  for value, known in zip(own.accuracy, begun, strict=True)]  # fmt: skip
        traces.append(go.Scatter(
            x=own.depth, y=own.row, name=name, mode="markers+text", textposition="top center", cliponaxis=False,
            text=labels if is_result or not wide else None, hovertext=told[mask],
            marker=dict(color=colour, symbol=FINAL.symbol, size=_sizes(own.compression), line_width=0, opacity=1),
            customdata=[[run, int(iteration)] for run, iteration in zip(own.run, own.iteration, strict=True)],
            hovertemplate="%{hovertext}<extra></extra>",
            unselected_marker_opacity=1, selected_marker_opacity=1,
        ))  # fmt: skip
    traces += _unfinished(runs) + _ring(there, chosen)
    columns = int(nodes.depth.max())
    end = columns + (1.2 if (runs.state != "finished").any() else 0.6)
    return figure(
        traces, _alt(there, runs), AROUND + ROW * len(runs), hovermode="closest", clickmode="event+select",
        margin=dict(r=12),
        xaxis=dict(title="iterations from the base", range=[-0.6, end], showgrid=False, zeroline=False,
                   tickvals=list(range(0, columns + 1, whole_step(columns, 12))), fixedrange=True),
        yaxis=dict(tickvals=runs.row, ticktext=[_row_label(run, run.run == selected) for run in runs.itertuples()],
                   range=[len(runs) - 0.4, -0.75], showgrid=False, zeroline=False, automargin=True, fixedrange=True,
                   ticks=""),
    )  # fmt: skip


def _row_lines(runs) -> go.Scatter:
    return go.Scatter(
        x=segments(runs.start, runs.end), y=segments(runs.row, runs.row), mode="lines", hoverinfo="skip",
        line=dict(color=GREY, width=2), showlegend=False,
    )  # fmt: skip


def _branches(runs) -> go.Scatter:
    """A soft bow from the parent's iteration down to the branch, through the gap between two columns."""
    turn = np.linspace(0, 1, 13)
    x, y = [], []
    for run in runs.dropna(subset="parent").itertuples():
        x += [*(run.start - BEND * np.sin(np.pi * turn) ** 0.6), None]
        y += [*(run.parent + (run.row - run.parent) * turn), None]
    return go.Scatter(
        x=x, y=y, mode="lines", line=dict(color=GREY, width=2), hoverinfo="skip", name="branch", showlegend=bool(x)
    )


def _unfinished(runs) -> list[go.Scatter]:
    """What became of the runs that are not simply finished, behind their last node."""
    others = runs[runs.state != "finished"]
    return [go.Scatter(
        x=others.end, y=others.row, mode="text", text=[f"{PAD}{state}" for state in others.state],
        textposition="middle right", textfont_color=CONTRAST, cliponaxis=False, hoverinfo="skip", showlegend=False,
    )] if len(others) else []  # fmt: skip


def _ring(nodes, chosen) -> list[go.Scatter]:
    if chosen is None:
        return []
    own = nodes[(nodes.run == chosen[0]) & (nodes.iteration == chosen[1])]
    return [go.Scatter(
        x=own.depth, y=own.row, mode="markers", name="chosen", hoverinfo="skip", showlegend=len(own) > 0,
        marker=dict(symbol="circle-open", size=_sizes(own.compression) + 6, color=CONTRAST, line_width=2),
    )]  # fmt: skip


def _sizes(compression) -> np.ndarray:
    """The diameter of each node: its area shrinks with the share of parameters that is left."""
    left = 1 / compression.astype(float).fillna(1).clip(lower=1)
    return np.sqrt(SMALLEST**2 + (LARGEST**2 - SMALLEST**2) * left).round(1).to_numpy()


def _told(node, widths: bool) -> str:
    accuracy = "" if pd.isna(node.accuracy) else f"{node.accuracy:.2%}, ".replace("%", " %")
    lines = [f"<b>{_plain(node.label, 60)}</b>, iteration {int(node.iteration)}"]
    lines += [f"{accuracy}compression {node.compression:.2f}×"]
    lines += [f"cut: {_plain(node.cut, 120)}"] * bool(node.cut)
    lines += [_plain(node.configuration, 160)] * (widths and bool(node.configuration))
    return "<br>".join(lines)


def _plain(text: str, most: int) -> str:
    """Text that anybody may have written, for a chart, which reads markup: in lines, and with its signs as signs."""
    lines = textwrap.wrap(textwrap.shorten(text, most, placeholder=" …"), 52)
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def _row_label(run, selected: bool) -> str:
    text = run.label if len(run.label) <= LONGEST else f"{run.label[: LONGEST - 1]}…"
    text = html.escape(text, quote=False)
    return f"<b>{text}</b>" if selected else text


def _alt(nodes, runs) -> str:
    branches = int(runs.parent.notna().sum())
    alt = f"Tree of {counted(len(runs), 'run')}, {branches} begun in another, with {counted(len(nodes), 'iteration')}"
    best = nodes[nodes.result].dropna(subset="accuracy")
    if best.empty:
        return alt + "."
    small = best.loc[best.compression.idxmax()]
    ends = f"{small.compression:.1f} times compressed with an accuracy of {percent(small.accuracy)}"
    return f"{alt}; the smallest result, of {small.label}, is {ends}."
