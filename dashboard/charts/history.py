"""Charts over the iterations of runs: APoZ and width by layer, and the metric by compression."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, integer_step, percent_axis, row_height, rows_axis
from dashboard.charts.grouping import MANY, largest, rest
from dashboard.charts.marks import FINAL, INITIAL, PERCENT_BAR, REFERENCE, SERIES, WIDTH_SCALE
from dashboard.charts.tables import counted, in_order, percent, require, short_layer, shorten
from dashboard.charts.values import hover, metric_axis, phrase, scale
from trimcore.tables import ACCURACY, Metric, measure_name

MAX_LINES = 8  # more layers than this are drawn as a heatmap
SINGLE = 12  # layers with their own row if there are many
NEURONS = {"width": "neurons", "pruned": "removed in this iteration"}


def apoz_history(layers: pd.DataFrame) -> go.Figure:
    """Mean APoZ of each layer by iteration.

    layers: iteration, layer, apoz_mean (0..1), width (neurons), pruned (neurons removed in this iteration), optionally
    tolerance (0: only exact zeros were counted).
    """
    layers = _summarized(require(layers, "layers", ["iteration", "layer", "apoz_mean", "width", "pruned"]))
    name = measure_name(layers.tolerance.max() if "tolerance" in layers else 0.0)
    values = layers.assign(value=100 * layers.apoz_mean)
    last = values.dropna(subset="value").groupby("layer", sort=False).value.last()
    alt = f"Mean {name} of each layer by iteration"
    alt += f": at the end, highest in {last.idxmax()} with {percent(last.max() / 100)}." if len(last) else "."
    return layer_history(values, f"mean {name}", NEURONS, alt, scale="Cividis", shape="linear")


def width_history(layers: pd.DataFrame) -> go.Figure:
    """Width of each layer by iteration, relative to its width in the first.

    layers: iteration, layer, apoz_mean (0..1), width (neurons), pruned (neurons removed in this iteration).
    """
    layers = _summarized(require(layers, "layers", ["iteration", "layer", "apoz_mean", "width", "pruned"]))
    layers = layers.sort_values("iteration", kind="stable")
    values = layers.assign(value=100 * layers.width / layers.groupby("layer").width.transform("first"))
    last = values.groupby("layer", sort=False).value.last()
    alt = (
        f"Width of each layer relative to its starting width: {last.idxmin()} is trimmed the most, to "
        f"{percent(last.min() / 100)}."
    )
    return layer_history(values, "of the starting width", NEURONS, alt, scale=WIDTH_SCALE, shape="hv")


def frontier(
    points: pd.DataFrame, reference: pd.DataFrame | None = None, size: str = "compression", *,
    metric: Metric = ACCURACY,
) -> go.Figure:  # fmt: skip
    """The metric by compression, one line per run.

    points: run, iteration, compression (base parameters / parameters), metric_initial and metric_final (NaN while
    unknown). reference: label, compression, metric, drawn in grey. size: the label of the compression.
    """
    points = require(points, "points", ["run", "iteration", "compression", "metric_initial", "metric_final"])
    unit, value = scale(metric), hover(metric, "y")
    runs = in_order(points.run)
    traces = []
    if reference is not None and len(reference):
        reference = require(reference, "reference", ["label", "compression", "metric"])
        traces.append(go.Scatter(
            x=reference.compression, y=unit * reference.metric, text=reference.label, mode="markers", name="reference",
            marker=dict(color=REFERENCE.colour, symbol=REFERENCE.symbol, size=8),
            hovertemplate=f"<b>%{{text}}</b><br>{value} at %{{x:.2f}}×<extra></extra>",
        ))
    for number, run in enumerate(runs):
        rows = points[points.run == run].sort_values("iteration")
        final = rows.dropna(subset="metric_final")
        initial = rows.dropna(subset="metric_initial")
        colour = SERIES[number % len(SERIES)]
        traces.append(go.Scatter(
            x=final.compression, y=unit * final.metric_final, name=shorten(run, 22), mode="lines+markers",
            customdata=np.stack([final.run, final.iteration], axis=1), line=dict(color=colour, width=2),
            marker=dict(symbol=FINAL.symbol, size=8),
            hovertemplate="<b>%{customdata[0]}</b>, iteration %{customdata[1]}<br>"
            f"final {value} at %{{x:.2f}}×<extra></extra>",
        ))
        traces.append(go.Scatter(
            x=initial.compression, y=unit * initial.metric_initial, name="initial", legendgroup="initial",
            showlegend=number == 0, visible="legendonly", mode="markers",
            marker=dict(color=INITIAL.colour, symbol=INITIAL.symbol, size=9, line_width=2),
            customdata=np.stack([initial.run, initial.iteration], axis=1),
            hovertemplate="<b>%{customdata[0]}</b>, iteration %{customdata[1]}<br>"
            f"initial {value} at %{{x:.2f}}×<extra></extra>",
        ))
    traces.sort(key=lambda trace: trace.name == "initial")  # hidden traces come last in the legend
    most = points.iloc[points.compression.argmax()]
    alt = (
        f"{metric.title} by {size} for {counted(len(runs), 'run')}: the smallest network, of {most.run}, is compressed "
        f"{most.compression:.1f} times"
    )
    alt += f" with {phrase(metric, most.metric_final)}." if pd.notna(most.metric_final) else "."
    wide = points.compression.max() > 10
    ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    axis = dict(type="log", tickvals=ticks, ticktext=[f"{tick}×" for tick in ticks]) if wide else dict(ticksuffix="×")
    return figure(traces, alt, 340, xaxis=axis | dict(title=size, zeroline=False), yaxis=metric_axis(metric))


def _summarized(layers: pd.DataFrame) -> pd.DataFrame:
    """If there are many layers, those that lost the most neurons are kept and the others are merged into one. Widths
    and removed neurons are summed; APoZ is the mean over their neurons."""
    names = in_order(layers.layer)
    if len(names) <= MANY:
        return layers
    pruned = layers.groupby("layer", sort=False).pruned.sum()
    shown = layers.layer.map(largest(pruned, SINGLE))
    others = layers[~shown].assign(zeros=lambda rows: rows.apoz_mean * rows.width)
    total = others.groupby("iteration", as_index=False).agg(
        width=("width", "sum"), pruned=("pruned", "sum"), zeros=("zeros", "sum"),
        **({"tolerance": ("tolerance", "max")} if "tolerance" in layers else {}),
    )
    total = total.assign(layer=rest(len(names) - SINGLE), apoz_mean=total.zeros / total.width)
    return pd.concat([layers[shown], total[layers.columns]], ignore_index=True)


def layer_history(
    values: pd.DataFrame, unit: str, counts: dict[str, str], alt: str, scale: str | list[list[Any]], shape: str
) -> go.Figure:
    """Lines for a few layers, a heatmap for many. values: iteration, layer, value (per cent), and the columns of
    `counts`. counts: column -> what it counts, in the order of the hover text."""
    names = in_order(values.layer)
    counts_text = ", ".join(f"%{{customdata[{place}]:,}} {what}" for place, what in enumerate(counts.values(), 2))
    hover = f"<b>%{{customdata[0]}}</b>, iteration %{{x}}<br>%{{customdata[1]}} {unit}<br>{counts_text}<extra></extra>"
    values = values.assign(text=[f"{value:.1f} %" for value in values.value])
    iterations = sorted(values.iteration.unique())
    axis = dict(title="iteration", tick0=iterations[0], dtick=integer_step(iterations[-1] - iterations[0]),
                showgrid=False, zeroline=False)
    columns = ["layer", "text", *counts]
    if len(names) <= MAX_LINES:
        traces = [
            go.Scatter(
                x=rows.iteration, y=rows.value, name=short_layer(name), mode="lines+markers", customdata=rows[columns],
                line=dict(color=SERIES[names.index(name)], width=2, shape=shape), marker_size=5, hovertemplate=hover,
            ) for name, (_, rows) in zip(names, values.groupby("layer", sort=False), strict=True)
        ]
        return figure(traces, alt, 300, xaxis=axis, yaxis=percent_axis())
    table = values.set_index(["layer", "iteration"])[["value", *columns[1:]]].unstack()
    table = table.reindex(names)
    cells = np.stack([np.repeat(np.array(names)[:, None], len(iterations), axis=1),
                      *(table[column].to_numpy() for column in columns[1:])], axis=2)
    heat = go.Heatmap(
        z=table.value.to_numpy(np.float32), x=iterations, customdata=cells, xgap=2, ygap=2, colorscale=scale, zmin=0,
        zmax=100, colorbar=PERCENT_BAR, hoverongaps=False, hovertemplate=hover,
    )
    return figure([heat], alt, 76 + row_height(len(names)) * len(names), xaxis=axis, yaxis=rows_axis(names),
                  margin=dict(t=8))
