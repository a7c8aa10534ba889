"""Charts of two runs side by side, made from quantiles and counts, so that networks of any size stay light."""

import html
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import READABLE, figure, percent_axis, row_height, rows_axis, segments, side_text
from dashboard.charts.many import blocks
from dashboard.charts.marks import CUT, KEPT, SERIES, Mark
from dashboard.charts.neurons import QUANTILES
from dashboard.charts.tables import counted, in_order, percent, require

FIRST, SECOND = Mark(SERIES[2], "circle"), Mark(SERIES[1], "diamond")  # neither is the colour of *kept* or *cut*
APART = 0.2  # of a row: how far the two stand above and below its middle
FATES = {  # of a neuron of the base: what it is called, and its mark
    "both": ("kept by both", KEPT), "first": ("only by {}", FIRST), "second": ("only by {}", SECOND),
    "neither": ("cut by both", CUT),
}  # fmt: skip


def apoz_versus(
    first: pd.DataFrame, second: pd.DataFrame, names: Sequence[str], by_difference: bool = False, measure: str = "APoZ"
) -> go.Figure:
    """In which layers do two networks differ in how idle their neurons are? One row a layer that both have: the first
    above the second, 5-95 % thin, 25-75 % thick, median tick, mean mark, and at the right how many neurons each has.

    first, second: layer, apoz (0..1), one row a neuron, layers in depth order. names: of the two. by_difference: rows
    from the largest difference of the means instead of in depth order. measure: how APoZ is called. Where layers are
    many, a row is a block of them with all its neurons. Without a common layer: ValueError.
    """
    first, second = (require(own, "neurons", ["layer", "apoz"]).dropna(subset="apoz") for own in (first, second))
    others = set(second.layer)
    shared = [layer for layer in in_order(first.layer) if layer in others]
    if not shared:
        raise ValueError("the two have no layer in common; needed: at least one")
    row_of = dict(zip(shared, blocks(shared), strict=True))
    sides = [_by_row(frame, row_of) for frame in (first, second)]
    rows = in_order(row_of.values())
    change = {row: sides[1][row].mean() - sides[0][row].mean() for row in rows}
    if by_difference:
        rows.sort(key=lambda row: -abs(change[row]))  # of equal ones the first in depth
    height = max(34 if len(rows) <= 10 else 28 if len(rows) <= 24 else 22, row_height(len(rows)))
    held = {row: list(row_of.values()).count(row) for row in rows}
    traces = []
    for side, name, mark, place in zip(sides, names, (FIRST, SECOND), (-APART, APART), strict=True):
        traces += _side([side[row] for row in rows], rows, held, _plain(name), mark, place, measure)
    if height >= READABLE:
        traces.append(side_text(range(len(rows)), [f"{sides[0][r].size:,} | {sides[1][r].size:,}" for r in rows], 100))
    top = max(rows, key=lambda row: abs(change[row]))
    alt = (
        f"{measure} of {names[0]} and {names[1]} in {counted(len(shared), 'layer')}: the means differ most in {top}, "
        f"{percent(sides[0][top].mean())} and {percent(sides[1][top].mean())}; "
        f"{sum(map(len, sides[0].values())):,} and {sum(map(len, sides[1].values())):,} neurons."
    )
    chart = figure(
        traces, alt, 130 + height * len(rows), hovermode="closest",
        xaxis=percent_axis(range=[0, 100], dtick=25, title=measure), yaxis=rows_axis(rows), margin=dict(r=100, t=64),
    )
    return chart.add_annotation(
        text="\u00a0neurons", x=100, xanchor="left", y=1, yref="paper", yanchor="bottom", showarrow=False,
    )


def _plain(name: str) -> str:
    """A name that somebody wrote, as text in a legend."""
    return html.escape(name, quote=False)


def _by_row(frame: pd.DataFrame, row_of: dict[str, str]) -> dict[str, np.ndarray]:
    """Row -> the APoZ of all its neurons."""
    return {row: own.to_numpy(float) for row, own in frame.groupby(frame.layer.map(row_of), sort=False).apoz}


def _side(
    values: Sequence[np.ndarray], rows: Sequence[str], held: dict[str, int], name: str, mark: Mark, place: float,
    measure: str,
) -> list[go.Scatter]:
    """One of the two: a half of each row, shown and hidden together with its entry in the legend."""
    low, quarter, median, third, high = 100 * np.array([np.quantile(apoz, QUANTILES) for apoz in values]).T
    means, y = np.array([100 * apoz.mean() for apoz in values]), np.arange(len(rows)) + place
    settings = dict(legendgroup=name + mark.symbol, showlegend=False, hoverinfo="skip")
    lines = [
        go.Scatter(x=segments(left, right), y=segments(y, y), mode="lines", opacity=opacity,
                   line=dict(color=mark.colour, width=width), **settings)
        for left, right, width, opacity in [(low, high, 2, 1), (quarter, third, 8, 0.45)]
    ]  # fmt: skip
    tick = dict(symbol="line-ns", size=8, line=dict(color=mark.colour, width=2))
    ticks = go.Scatter(x=median, y=y, mode="markers", marker=tick, **settings)
    details = [
        [row, f"{apoz.size:,}", f" in {counted(held[row], 'layer')}" if held[row] > 1 else "", *np.round(own, 1)]
        for row, apoz, *own in zip(rows, values, low, quarter, median, third, high, strict=True)
    ]
    marks = go.Scatter(
        x=means, y=y, mode="markers", name=name, customdata=details, legendgroup=name + mark.symbol,
        marker=dict(symbol=mark.symbol, size=8, color=mark.colour, line=dict(color="white", width=1)),
        hovertemplate="<b>%{customdata[0]}</b> · %{customdata[1]} neurons%{customdata[2]}<br>mean "
        f"{measure} " "%{x:.1f} %, median %{customdata[5]} %<br>half of them %{customdata[4]} to %{customdata[6]} %"
        "<br>5 to 95 %: %{customdata[3]} to %{customdata[7]} %<extra></extra>",
    )
    return [*lines, ticks, marks]


def survivors(table: pd.DataFrame, names: Sequence[str]) -> go.Figure:
    """Do two plans keep the same neurons of one base? One bar a layer: the share of its neurons in the base that both
    kept, only the first, only the second, and neither.

    table: layer, both, first, second, neither (neurons), layers in depth order. names: of the two. Where layers are
    many, a bar is a block of them.
    """
    table = require(table, "survivors", ["layer", *FATES])
    rows = table.groupby(pd.Series(blocks(table.layer.tolist())), sort=False)[list(FATES)].sum()
    total = rows.sum(axis=1)
    shown = [_plain(name) for name in names]
    called = {"both": FATES["both"][0], "first": FATES["first"][0].format(shown[0]),
              "second": FATES["second"][0].format(shown[1]), "neither": FATES["neither"][0]}  # fmt: skip
    traces = [
        go.Bar(
            x=100 * rows[fate] / total, y=list(range(len(rows))), orientation="h", name=called[fate],
            customdata=list(zip(rows.index, rows[fate], total, strict=True)),
            marker=dict(color=mark.colour, line_width=0, pattern=dict(shape=mark.pattern, fillmode="replace", size=6)),
            hovertemplate="<b>%{customdata[0]}</b><br>" f"{called[fate]}: " "%{customdata[1]:,} of %{customdata[2]:,} "
            "neurons<extra></extra>",
        )
        for fate, (_, mark) in FATES.items()
    ]  # fmt: skip
    whole = rows.sum()
    alt = (
        f"Of {total.sum():,} neurons of the base in {counted(len(table), 'layer')}, {whole.both:,} are in both, "
        f"{whole['first']:,} only in {names[0]}, {whole.second:,} only in {names[1]}, and {whole.neither:,} in neither."
    )
    return figure(
        traces, alt, 130 + row_height(len(rows)) * len(rows), barmode="stack", bargap=0.3, margin=dict(t=64, r=24),
        xaxis=percent_axis(range=[0, 100], dtick=25, title="neurons of the base"), yaxis=rows_axis(list(rows.index)),
    )
