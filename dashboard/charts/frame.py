"""The building blocks of all charts: the figure with its margins and legend, rows for layers, axes in per cent."""

from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from dashboard.charts.marks import GREY
from dashboard.charts.tables import short_layer

TEXT_HEIGHT = 14  # pixels per line of text
MAX_ROWS_HEIGHT = 1280  # pixels for all rows together


def row_height(rows: int) -> int:
    """Pixels per row: large for a few rows, and small enough for hundreds of rows to fit on two screens."""
    return 30 if rows <= 10 else 24 if rows <= 24 else 16 if rows <= 80 else max(2, MAX_ROWS_HEIGHT // rows)


def integer_step(span: float, ticks: int = 8) -> int:
    """The distance between integer ticks that puts about `ticks` of them on an axis of length `span`."""
    return next((step for step in (1, 2, 5, 10, 20, 50, 100, 200) if span / step <= ticks), 500)


def rows_axis(labels: Sequence[str]) -> dict[str, Any]:
    """A y axis with one row per label, the first at the top. Rows are numbered, so that equal labels never merge. If
    rows are lower than a line of text, only every second (third, ...) row has a label."""
    step = -(-TEXT_HEIGHT // row_height(len(labels)))
    return dict(
        tickvals=list(range(0, len(labels), step)), ticktext=[short_layer(label) for label in labels[::step]],
        ticks="",
        range=[len(labels) - 0.5, -0.5], showgrid=False, zeroline=False, automargin=True, fixedrange=True,
    )


def percent_axis(**settings: Any) -> dict[str, Any]:
    """An axis of values in 0..100."""
    return dict(ticksuffix=" %", zeroline=False) | settings


def wings(left: str, right: str, longest: float) -> dict[str, Any]:
    """The layout of a chart with bars to both sides of zero, in per cent: titles of the sides, and an axis with room
    for the label of the longest bar."""
    reach = 132 * max(longest, 0.01)
    step = next((step for step in (1, 2, 5, 10, 20, 25) if reach / step <= 3), 50)
    ticks = range(-step * int(reach // step), int(reach) + 1, step)
    titles = [
        dict(text=f"<b>{text}</b>", x=0, xanchor=anchor, xshift=shift, y=1, yref="paper", yanchor="bottom",
             showarrow=False)
        for text, anchor, shift in [(left, "right", -6), (right, "left", 6)]
    ]  # fmt: skip
    axis = dict(range=[-reach, reach], tickvals=list(ticks), ticktext=[f"{abs(tick)} %" for tick in ticks],
                zeroline=True, zerolinecolor=GREY)  # fmt: skip
    return dict(annotations=titles, xaxis=axis)


def segments(*bounds: Iterable[float]) -> list[Any]:
    """Interleave equally long columns with gaps, so that many short lines are one trace: a1, b1, None, a2, b2, None."""
    return [value for row in zip(*bounds, strict=True) for value in (*row, None)]


def side_text(rows: Sequence[int], text: Sequence[str], x: float) -> go.Scatter:
    """A column of text to the right of `x`, the end of the x axis, one entry per row. It needs a right margin."""
    return go.Scatter(
        x=[x] * len(rows), y=list(rows), text=[f"\u00a0{entry}" for entry in text], mode="text",
        textposition="middle right", cliponaxis=False, hoverinfo="skip", showlegend=False,
    )


def figure(
    traces: Iterable[Any], alt: str, height: int, *, margin: dict[str, Any] | None = None, **layout: Any
) -> go.Figure:
    """A transparent figure with compact margins and the legend above. `alt` is its alt text."""
    settings = layout | dict(
        height=height, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", dragmode=False,
        uirevision="keep",  # a live chart keeps its zoom
        margin=dict(l=8, r=8, t=32, b=8) | (margin or {}), hoverlabel=dict(align="left"), meta={"alt": alt},
        legend=dict(
            orientation="h", x=0, xanchor="left", y=1, yref="container", yanchor="top", traceorder="normal",
        ) | layout.get("legend", {}),
    )
    return go.Figure(list(traces), settings)  # in one call, because `update_layout` takes three times as long
