"""The sensitivity of each layer: accuracy by the share of one layer that is kept, with all other layers intact."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, percent_axis, row_height, rows_axis
from dashboard.charts.marks import CUT, GREY, SERIES, WIDTH_SCALE
from dashboard.charts.tables import counted, in_order, percent, require

MAX_LINES = len(SERIES)  # more layers than this are drawn as a heatmap
POINTS = ["layer", "kept_fraction", "kept", "accuracy"]


def sensitivity(points: pd.DataFrame, base: float, plan: Mapping[str, float]) -> go.Figure:
    """Accuracy by the share of each layer that is kept: lines for a few layers, else a heatmap with one row per layer.

    points: layer, kept_fraction (0..1, as requested), kept (neurons), accuracy (0..1). The first row of a layer is the
    full layer. base: the accuracy of the full network. plan: the share (0..1) that the plan keeps of each layer that it
    cuts; the chart marks it.
    """
    points = require(points, "points", POINTS)
    points = points.assign(share=100 * points.kept / points.groupby("layer").kept.transform("max"))
    layers = in_order(points.layer)
    worst = points.loc[points.accuracy.idxmin()]
    alt = (
        f"Accuracy by the share of one layer that is kept, for {counted(len(layers), 'layer')}: {percent(base)} with "
        f"all neurons, at least {percent(worst.accuracy)}, with {worst.kept:,} neurons of {worst.layer}."
    )
    return (_lines if len(layers) <= MAX_LINES else _heatmap)(points, layers, base, plan, alt)


def accuracy_at(points: pd.DataFrame, layer: str, share: float) -> float:
    """The accuracy (0..1) with a share (0..1) of a layer, interpolated linearly and constant outside the points."""
    own = points[points.layer == layer].drop_duplicates("kept").sort_values("kept")
    return float(np.interp(share, own.kept / own.kept.max(), own.accuracy))


def _lines(points: pd.DataFrame, layers: list[str], base: float, plan: Mapping[str, float], alt: str) -> go.Figure:
    traces = []
    for layer, colour in zip(layers, SERIES, strict=False):
        own = points[points.layer == layer].drop_duplicates("kept")
        traces.append(go.Scatter(
            x=own.share, y=100 * own.accuracy, name=layer, mode="lines+markers", line=dict(color=colour, width=2),
            marker_size=5, customdata=own[["kept"]], legendgroup=layer,
            hovertemplate=f"<b>{layer}</b>: %{{customdata[0]:,}} neurons kept (%{{x:.0f}} %)<br>accuracy %{{y:.1f}} %"
            "<extra></extra>",
        ))
    marked = {layer: share for layer, share in plan.items() if layer in layers}
    if marked:
        traces.append(go.Scatter(
            x=[100 * share for share in marked.values()], name="in the plan", mode="markers",
            y=[100 * accuracy_at(points, layer, share) for layer, share in marked.items()], customdata=list(marked),
            marker=dict(color=CUT.colour, symbol="diamond-open", size=13, line_width=2.5),
            hovertemplate="<b>%{customdata}</b>: the plan keeps %{x:.0f} %<br>accuracy about %{y:.1f} %<extra></extra>",
        ))
    lowest = 100 * points.accuracy.min()
    return figure(
        traces, alt, 360, hoverdistance=20, margin=dict(t=56),
        shapes=[dict(type="line", xref="paper", x0=0, x1=1, y0=100 * base, y1=100 * base,
                     line=dict(color=GREY, width=1, dash="dot"))],
        xaxis=percent_axis(range=[102, 0], title="share of the layer kept"),
        yaxis=percent_axis(range=[max(0, lowest - 5), min(101, 100 * base + 5)], title="accuracy"),
    )  # fmt: skip


def _heatmap(points: pd.DataFrame, layers: list[str], base: float, plan: Mapping[str, float], alt: str) -> go.Figure:
    shares = sorted(points.kept_fraction.unique(), reverse=True)
    table, kept = (
        points.pivot_table(index="layer", columns="kept_fraction", values=name).reindex(index=layers, columns=shares)
        for name in ("accuracy", "kept")
    )
    traces = [go.Heatmap(
        z=100 * table.to_numpy(), customdata=np.stack([np.tile(np.array(layers)[:, None], len(shares)), kept], axis=-1),
        colorscale=WIDTH_SCALE, zmin=0, zmax=100 * max(base, points.accuracy.max()), xgap=1,
        ygap=1 if len(layers) <= 80 else 0,
        colorbar=dict(thickness=10, ticksuffix=" %", outlinewidth=0),
        hovertemplate="<b>%{customdata[0]}</b>: %{customdata[1]:,.0f} neurons kept<br>accuracy %{z:.1f} %"
        "<extra></extra>",
    )]  # fmt: skip
    rows = [(layers.index(layer), share) for layer, share in plan.items() if layer in layers]
    if rows:
        traces.append(go.Scatter(
            x=[np.interp(-share, [-one for one in shares], range(len(shares))) for _, share in rows],
            y=[row for row, _ in rows], mode="markers", name="in the plan", showlegend=True,
            customdata=[(layers[row], 100 * share) for row, share in rows],
            marker=dict(color=CUT.colour, symbol="diamond-open", size=9, line_width=2),
            hovertemplate="<b>%{customdata[0]}</b>: the plan keeps %{customdata[1]:.0f} %<extra></extra>",
        ))
    return figure(
        traces, alt, 90 + row_height(len(layers)) * len(layers), yaxis=rows_axis(layers), margin=dict(t=40),
        xaxis=dict(tickvals=list(range(len(shares))), ticktext=[percent(share) for share in shares], zeroline=False,
                   showgrid=False, title="share of the layer kept", range=[-0.5, len(shares) - 0.5]),
    )  # fmt: skip
