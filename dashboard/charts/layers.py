"""Charts with one row per layer, in depth order from the top: shares of parameters and MACs, and removed neurons."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, percent_axis, row_height, rows_axis, side_text, wings
from dashboard.charts.grouping import ROWS, blocks, largest, rest
from dashboard.charts.marks import ACCENT, CUT, FROZEN, GREY, KEPT
from dashboard.charts.tables import counted, percent, require, rows_of


def butterfly(layers: pd.DataFrame) -> go.Figure:
    """The share of parameters to the left and of MACs to the right.

    layers: layer, kind, width (neurons; 0 for parts without neurons), parameters, macs (counts), frozen ('' or the
    reason); rows in depth order. With many layers, a row is a block of layers.
    """
    layers = require(layers, "layers", ["layer", "kind", "width", "parameters", "macs", "frozen"])
    rows = _rows(layers)
    parameters = rows.parameters / max(rows.parameters.sum(), 1)
    macs = rows.macs / max(rows.macs.sum(), 1)
    frozen = rows.held.gt(0)  # a layer is frozen or not; a block can be partly frozen
    details = np.stack([
        rows.row, rows.what, rows.parameters.map("{:,}".format), rows.macs.map("{:,}".format), rows.why,
    ], axis=1)

    def fill(hatched: pd.Series | list[bool], colour: str) -> dict[str, Any]:
        return dict(
            color=np.where(hatched, FROZEN.colour, colour).tolist(), line_width=0, pattern=dict(
                shape=np.where(hatched, FROZEN.pattern, "").tolist(), fgcolor=colour, fgopacity=1, fillmode="overlay",
                size=5),
        )

    def wing(share: pd.Series, direction: int, colour: str) -> go.Bar:
        return go.Bar(
            x=direction * 100 * share, y=rows.index, orientation="h", marker=fill(frozen, colour), showlegend=False,
            text=[percent(value) for value in share], textposition="outside", constraintext="none", cliponaxis=False,
            hoverinfo="skip",
        )

    traces = [
        wing(parameters, -1, ACCENT).update(
            customdata=details, hoverinfo=None, hovertemplate="<b>%{customdata[0]}</b> · %{customdata[1]}<br>"
            "%{customdata[2]} parameters<br>%{customdata[3]} MACs%{customdata[4]}<extra></extra>"),
        wing(macs, 1, GREY),  # without a hover text, because one per row is enough
    ]
    mixed = frozen & rows.held.lt(rows.layers)
    if mixed.any():  # the trimmable part of a block covers its hatching
        traces += [
            go.Bar(x=direction * 100 * (free / max(whole.sum(), 1))[mixed], y=rows.index[mixed], orientation="h",
                   marker=dict(color=colour, line_width=0), showlegend=False, hoverinfo="skip")
            for direction, free, whole, colour in [
                (-1, rows.free_parameters, rows.parameters, ACCENT), (1, rows.free_macs, rows.macs, GREY)]
        ]
    if frozen.any():  # an empty bar for the legend entry of the hatching
        traces.append(go.Bar(
            x=[None], y=[None], name="frozen (cannot be trimmed)", marker=fill([True], ACCENT), hoverinfo="skip",
        ))
    alt = (
        f"Share of parameters and MACs of {counted(len(layers), 'layer')}: {rows.row.iloc[parameters.argmax()]} has "
        f"{percent(parameters.max())} of the parameters, {rows.row.iloc[macs.argmax()]} has {percent(macs.max())} of "
        f"the MACs; {counted(int(rows.held.sum()), 'frozen layer')}."
    )
    return figure(
        traces, alt, 70 + row_height(len(rows)) * len(rows), barmode="overlay", bargap=0.3, hovermode="y",
        yaxis=rows_axis(rows.row.tolist()), margin=dict(t=54 if frozen.any() else 26),
        **wings("parameters", "MACs", max(parameters.max(), macs.max())),
    )


def _rows(layers: pd.DataFrame) -> pd.DataFrame:
    """The rows of the butterfly, layers or blocks of them: sums, the number of frozen layers (`held`) and texts."""
    reasons = layers.frozen.fillna("")
    free = reasons.eq("")
    table = layers.assign(
        row=blocks(layers.layer.tolist()), held=~free, layers=1, free_parameters=layers.parameters.where(free, 0),
        free_macs=layers.macs.where(free, 0), what=layers.kind, why=np.where(free, "", "<br>frozen: " + reasons),
    )
    rows = table.groupby("row", sort=False, as_index=False).agg({
        **dict.fromkeys(["layers", "held", "width", "parameters", "macs", "free_parameters", "free_macs"], "sum"),
        **dict.fromkeys(["what", "why"], "first"),
    })
    block = rows.layers.gt(1)
    neurons = [f", {width:,} neurons" if width else "" for width in rows.width]
    return rows.assign(
        what=rows.what.mask(block, rows.layers.astype(str) + " layers") + neurons,
        why=rows.why.mask(block, np.where(rows.held, "<br>" + rows.held.astype(str) + " of them frozen", "")),
    )


def widths_preview(widths: pd.DataFrame) -> go.Figure:
    """The neurons of each layer as a full bar, split into kept and removed, with numbers on the right.

    widths: layer, before, after (neurons); rows in depth order. With many layers, those that lose the most have
    their own rows and the others share one.
    """
    widths = require(widths, "widths", ["layer", "before", "after"])
    if (widths.after > widths.before).any():
        grown = ", ".join(widths.layer[widths.after > widths.before])
        raise ValueError(f"widths grow in {grown}; needed: `after` at most `before`")
    count, shown = len(widths), largest(widths.before - widths.after, ROWS)
    if not shown.all():
        others = widths[~shown]
        total = {"layer": rest(len(others)), "before": others.before.sum(), "after": others.after.sum()}
        widths = pd.concat([widths[shown], pd.DataFrame([total])], ignore_index=True)
    cut = widths.before - widths.after
    traces = [
        go.Bar(
            x=100 * part / widths.before, y=widths.index, orientation="h", name=name, hoverinfo="skip",
            marker=dict(color=mark.colour, line_width=0, pattern=dict(shape=mark.pattern, fillmode="replace", size=6)),
        )
        for part, name, mark in [(widths.after, "kept", KEPT), (cut, "removed", CUT)]
    ]
    traces[0].update(  # one hover text per row is enough
        customdata=np.stack([widths.layer, widths.before, widths.after, cut], axis=1), hoverinfo=None,
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]:,} → %{customdata[2]:,} neurons: "
        "%{customdata[3]:,} removed<extra></extra>",
    )
    changes = [f"{row.before:,} → {row.after:,}" if row.after < row.before else f"{row.before:,}"
               for row in rows_of(widths)]
    traces.append(side_text(range(len(widths)), changes, x=100))
    deepest = widths.iloc[(cut / widths.before).argmax()]
    alt = (
        f"Neurons kept and removed in {counted(count, 'layer')}: {cut.sum():,} of {widths.before.sum():,} are removed, "
        f"the largest share in {deepest.layer} ({deepest.before:,} to {deepest.after:,})."
    )
    return figure(
        traces, alt, 60 + row_height(len(widths)) * len(widths), barmode="stack", bargap=0.3, hovermode="y",
        xaxis=percent_axis(range=[0, 100], dtick=25), yaxis=rows_axis(widths.layer.tolist()),
        margin=dict(r=104),
    )
