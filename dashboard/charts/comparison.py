"""Charts that compare two runs. They are built from quantiles and counts, so that networks of any size stay light."""

import html
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import TEXT_HEIGHT, figure, percent_axis, row_height, rows_axis, segments, side_text
from dashboard.charts.grouping import blocks
from dashboard.charts.marks import CUT, KEPT, SERIES, Mark
from dashboard.charts.neurons import QUANTILES
from dashboard.charts.tables import counted, in_order, percent, require

FIRST, SECOND = Mark(SERIES[2], "circle"), Mark(SERIES[1], "diamond")  # neither is the colour of kept or removed
OFFSET = 0.2  # of a row: the distance of the two from its middle
FATES = {  # of a neuron of the base: its label and its mark
    "both": ("kept in both", KEPT), "first": ("kept only in {}", FIRST), "second": ("kept only in {}", SECOND),
    "neither": ("removed in both", CUT),
}  # fmt: skip


def apoz_comparison(
    first: pd.DataFrame, second: pd.DataFrame, names: Sequence[str], by_difference: bool = False, measure: str = "APoZ"
) -> go.Figure:
    """The APoZ of two networks by layer. One row per common layer, the first network above the second: 5-95 % thin,
    25-75 % thick, a tick for the median, a mark for the mean, and on the right the number of neurons.

    first, second: layer, apoz (0..1), one row per neuron, layers in depth order. names: of the two networks.
    by_difference: sort rows by the difference of the means, largest first, instead of by depth. measure: the label of
    APoZ. With many layers, a row is a block of layers. Raises ValueError without a common layer.
    """
    first, second = (require(own, "neurons", ["layer", "apoz"]).dropna(subset="apoz") for own in (first, second))
    others = set(second.layer)
    shared = [layer for layer in in_order(first.layer) if layer in others]
    if not shared:
        raise ValueError("the two networks have no layer in common; needed: at least one")
    row_of = dict(zip(shared, blocks(shared), strict=True))
    sides = [_by_row(frame, row_of) for frame in (first, second)]
    rows = in_order(row_of.values())
    change = {row: sides[1][row].mean() - sides[0][row].mean() for row in rows}
    if by_difference:
        rows.sort(key=lambda row: -abs(change[row]))  # ties keep their depth order
    height = max(34 if len(rows) <= 10 else 28 if len(rows) <= 24 else 22, row_height(len(rows)))
    held = {row: list(row_of.values()).count(row) for row in rows}
    traces = []
    for side, name, mark, place in zip(sides, names, (FIRST, SECOND), (-OFFSET, OFFSET), strict=True):
        traces += _side([side[row] for row in rows], rows, held, _plain(name), mark, place, measure)
    if height >= TEXT_HEIGHT:
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
    """A user's name, escaped for a legend."""
    return html.escape(name, quote=False)


def _by_row(frame: pd.DataFrame, row_of: dict[str, str]) -> dict[str, np.ndarray]:
    """Row -> the APoZ of all its neurons."""
    return {row: own.to_numpy(float) for row, own in frame.groupby(frame.layer.map(row_of), sort=False).apoz}


def _side(
    values: Sequence[np.ndarray], rows: Sequence[str], held: dict[str, int], name: str, mark: Mark, place: float,
    measure: str,
) -> list[go.Scatter]:
    """One network: half of each row. Its traces are shown and hidden together by the legend."""
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
        f"{measure} " "%{x:.1f} %, median %{customdata[5]} %<br>middle half %{customdata[4]} to %{customdata[6]} %"
        "<br>middle 90 % %{customdata[3]} to %{customdata[7]} %<extra></extra>",
    )
    return [*lines, ticks, marks]


def survivors(table: pd.DataFrame, names: Sequence[str]) -> go.Figure:
    """Which neurons of a common base two results have kept. One bar per layer: the share of its neurons that are kept
    in both, only in the first, only in the second, and in neither.

    table: layer, both, first, second, neither (neurons), layers in depth order. names: of the two results. With many
    layers, a bar is a block of layers.
    """
    table = require(table, "survivors", ["layer", *FATES])
    rows = table.groupby(pd.Series(blocks(table.layer.tolist())), sort=False)[list(FATES)].sum()
    total = rows.sum(axis=1)
    shown = [_plain(name) for name in names]
    labels = {"both": FATES["both"][0], "first": FATES["first"][0].format(shown[0]),
              "second": FATES["second"][0].format(shown[1]), "neither": FATES["neither"][0]}  # fmt: skip
    traces = [
        go.Bar(
            x=100 * rows[fate] / total, y=list(range(len(rows))), orientation="h", name=labels[fate],
            customdata=list(zip(rows.index, rows[fate], total, strict=True)),
            marker=dict(color=mark.colour, line_width=0, pattern=dict(shape=mark.pattern, fillmode="replace", size=6)),
            hovertemplate="<b>%{customdata[0]}</b><br>" f"{labels[fate]}: " "%{customdata[1]:,} of %{customdata[2]:,} "
            "neurons<extra></extra>",
        )
        for fate, (_, mark) in FATES.items()
    ]  # fmt: skip
    whole = rows.sum()
    alt = (
        f"Of {total.sum():,} neurons of the base in {counted(len(table), 'layer')}, {whole.both:,} are kept in both, "
        f"{whole['first']:,} only in {names[0]}, {whole.second:,} only in {names[1]}, and {whole.neither:,} in neither."
    )
    return figure(
        traces, alt, 130 + row_height(len(rows)) * len(rows), barmode="stack", bargap=0.3, margin=dict(t=64, r=24),
        xaxis=percent_axis(range=[0, 100], dtick=25, title="neurons of the base"), yaxis=rows_axis(list(rows.index)),
    )
