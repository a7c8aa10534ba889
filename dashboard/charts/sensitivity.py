"""The sensitivity of each layer: the metric by the share of one layer that is kept, with all other layers intact."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, percent_axis, row_height, rows_axis
from dashboard.charts.marks import CUT, GREY, SERIES, WIDTH_SCALE
from dashboard.charts.tables import counted, in_order, percent, require
from dashboard.charts.values import axis_title, hover, markup_name, metric_axis, said, scale, worst_place
from trimcore.tables import ACCURACY, Metric

MAX_LINES = len(SERIES)  # more layers than this are drawn as a heatmap
POINTS = ["layer", "kept_fraction", "kept", "metric"]


def sensitivity(
    points: pd.DataFrame, base: float, plan: Mapping[str, float], *, metric: Metric = ACCURACY
) -> go.Figure:
    """The metric by the kept share of each layer: lines for a few layers, else a heatmap with one row per layer.

    points: layer, kept_fraction (0..1, as requested), kept (neurons), metric. The first row of a layer is the full
    layer. base: the value of the full network. plan: the share (0..1) that the plan keeps of each layer that it cuts;
    the chart marks it.
    """
    points = require(points, "points", POINTS)
    points = points.assign(share=100 * points.kept / points.groupby("layer").kept.transform("max"))
    layers = in_order(points.layer)
    worst = points.loc[worst_place(metric, points.metric)]
    alt = (
        f"{metric.title} by the share of one layer that is kept, for {counted(len(layers), 'layer')}: "
        f"{said(metric, base)} with all neurons, at {'least' if metric.higher_is_better else 'most'} "
        f"{said(metric, worst.metric)}, with {worst.kept:,} neurons of {worst.layer}."
    )
    return (_lines if len(layers) <= MAX_LINES else _heatmap)(points, layers, base, plan, alt, metric)


def value_at(points: pd.DataFrame, layer: str, share: float) -> float:
    """The value with a share (0..1) of a layer, interpolated linearly and constant outside the points."""
    own = points[points.layer == layer].drop_duplicates("kept").sort_values("kept")
    return float(np.interp(share, own.kept / own.kept.max(), own.metric))


def _lines(
    points: pd.DataFrame, layers: list[str], base: float, plan: Mapping[str, float], alt: str, metric: Metric
) -> go.Figure:
    unit, name, traces = scale(metric), markup_name(metric), []
    for layer, colour in zip(layers, SERIES, strict=False):
        own = points[points.layer == layer].drop_duplicates("kept")
        traces.append(go.Scatter(
            x=own.share, y=unit * own.metric, name=layer, mode="lines+markers", line=dict(color=colour, width=2),
            marker_size=5, customdata=own[["kept"]], legendgroup=layer,
            hovertemplate=f"<b>{layer}</b>: %{{customdata[0]:,}} neurons kept (%{{x:.0f}} %)<br>"
            f"{name} {hover(metric, 'y', 1)}<extra></extra>",
        ))
    marked = {layer: share for layer, share in plan.items() if layer in layers}
    if marked:
        traces.append(go.Scatter(
            x=[100 * share for share in marked.values()], name="in the plan", mode="markers",
            y=[unit * value_at(points, layer, share) for layer, share in marked.items()], customdata=list(marked),
            marker=dict(color=CUT.colour, symbol="diamond-open", size=13, line_width=2.5),
            hovertemplate="<b>%{customdata}</b>: the plan keeps %{x:.0f} %<br>"
            f"{name} about {hover(metric, 'y', 1)}<extra></extra>",
        ))
    return figure(
        traces, alt, 360, hoverdistance=20, margin=dict(t=56),
        shapes=[dict(type="line", xref="paper", x0=0, x1=1, y0=unit * base, y1=unit * base,
                     line=dict(color=GREY, width=1, dash="dot"))],
        xaxis=percent_axis(range=[102, 0], title="share of the layer kept"),
        yaxis=metric_axis(metric, range=_range(points.metric, base, metric), title=axis_title(metric)),
    )  # fmt: skip


def _heatmap(
    points: pd.DataFrame, layers: list[str], base: float, plan: Mapping[str, float], alt: str, metric: Metric
) -> go.Figure:
    shares, unit = sorted(points.kept_fraction.unique(), reverse=True), scale(metric)
    table, kept = (
        points.pivot_table(index="layer", columns="kept_fraction", values=name).reindex(index=layers, columns=shares)
        for name in ("metric", "kept")
    )
    traces = [go.Heatmap(
        z=unit * table.to_numpy(),
        customdata=np.stack([np.tile(np.array(layers)[:, None], len(shares)), kept], axis=-1), colorscale=WIDTH_SCALE,
        reversescale=not metric.higher_is_better, zmin=unit * min(0, points.metric.min()),
        zmax=unit * max(base, points.metric.max()), xgap=1,
        ygap=1 if len(layers) <= 80 else 0,
        colorbar=dict(thickness=10, ticksuffix=" %" if metric.percent else "", outlinewidth=0),
        hovertemplate="<b>%{customdata[0]}</b>: %{customdata[1]:,.0f} neurons kept<br>"
        f"{markup_name(metric)} {hover(metric, 'z', 1)}<extra></extra>",
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


def _range(values: pd.Series, base: float, metric: Metric) -> list[float]:
    """The y axis: from the worst value to a little above (or below) the value of the full network."""
    if metric.percent and metric.higher_is_better:
        return [max(0, 100 * values.min() - 5), min(101, 100 * base + 5)]
    low, high = scale(metric) * min(base, values.min()), scale(metric) * max(base, values.max())
    pad = 0.05 * (high - low or abs(high) or 1)
    return [max(0, low - pad) if low >= 0 else low - pad, high + pad]
