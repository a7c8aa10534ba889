"""Charts of the APoZ of neurons, built from counts, quantiles and uint8 cells, so that 12,000 neurons stay light."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import TEXT_HEIGHT, figure, percent_axis, row_height, rows_axis, segments, side_text
from dashboard.charts.marks import CUT, KEPT, PERCENT_BAR, Mark
from dashboard.charts.tables import counted, in_order, percent, require, require_apoz
from trimcore.tables import counted_as_zero, measure_name

QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95]
STRIP_COLUMNS = 128
HEATMAP_COLUMNS = 200
HEATMAP_CELLS = 9_000  # each has its layer's name, which limits the columns for networks with many layers


def apoz_by_layer(
    neurons: pd.DataFrame, thresholds: Mapping[str, float | None] | None = None,
    zeros: dict[str, tuple[float, Sequence[float]]] | None = None,
) -> go.Figure:
    """The APoZ of each layer, one row per layer: 5-95 % thin, 25-75 % thick, a tick for the median, a dot for the mean.

    neurons: layer, neuron, apoz (0..1), one row per neuron, layers in depth order. thresholds: layer -> APoZ (0..1).
    Values above it have the colour of removed neurons and are counted on the right, if rows have room for text. zeros:
    layer -> (tolerance, limits), what counted as zero in the layer; by default exact zeros.
    """
    neurons = _measured(neurons)
    layers = in_order(neurons.layer)
    values = [group.to_numpy() for _, group in neurons.groupby("layer", sort=False).apoz]
    limits = 100 * np.array([(thresholds or {}).get(layer, np.nan) for layer in layers], dtype=float)
    above = [int((apoz > limit / 100).sum()) for apoz, limit in zip(values, limits, strict=True)]
    quantiles = 100 * np.array([np.quantile(apoz, QUANTILES) for apoz in values])
    means = 100 * np.array([apoz.mean() for apoz in values])
    low, first, median, third, high = quantiles.T
    rows, limited, height = np.arange(len(layers)), ~np.isnan(limits), row_height(len(layers))
    written = limited & (height >= TEXT_HEIGHT)

    def lines(left: np.ndarray, right: np.ndarray, width: float, opacity: float, mark: Mark) -> go.Scatter:
        shown = left <= right
        return go.Scatter(
            x=segments(left[shown], right[shown]), y=segments(rows[shown], rows[shown]), mode="lines",
            line=dict(color=mark.colour, width=width), opacity=opacity, hoverinfo="skip", showlegend=False,
        )

    def ticks(
        x: np.ndarray, size: float, width: float, colour: str, name: str, shown: np.ndarray | slice = slice(None)
    ) -> go.Scatter:
        return go.Scatter(
            x=x[shown], y=rows[shown], mode="markers", name=name, hoverinfo="skip",
            marker=dict(symbol="line-ns", size=size, line=dict(color=colour, width=width)),
        )

    counted_zeros = [(zeros or {}).get(layer, (0.0, ())) for layer in layers]
    names = [measure_name(tolerance) for tolerance, _ in counted_zeros]
    split = np.where(limited, limits, 101)  # between kept and removed
    traces = []
    thin, thick = min(2, height / 3), min(10, 0.7 * height)
    for left, right, width, opacity in [(low, high, thin, 1), (first, third, thick, 0.45)]:
        traces.append(lines(left, np.minimum(right, split), width, opacity, KEPT))
        traces.append(lines(np.maximum(left, split), right, width, opacity, CUT))
    traces.append(ticks(median, min(10, height), 2, KEPT.colour, "median"))
    details = [
        [layer, apoz.size, *stats, f"<br>threshold {limit:.1f} %: {count:,} above" if limit >= 0 else "",
         name, counted_as_zero(*what)]
        for layer, apoz, stats, limit, count, name, what in zip(
            layers, values, quantiles.round(1), limits, above, names, counted_zeros, strict=True)
    ]
    traces.append(go.Scatter(
        x=means, y=rows, mode="markers", name="mean", customdata=details,
        marker=dict(symbol="circle", size=min(8, height), color=KEPT.colour, line=dict(color="white", width=1.5)),
        hovertemplate="<b>%{customdata[0]}</b> · %{customdata[1]:,} neurons<br>mean %{customdata[8]} %{x:.1f} %, "
        "median %{customdata[4]} %<br>middle half %{customdata[3]} to %{customdata[5]} %<br>middle 90 % "
        "%{customdata[2]} to %{customdata[6]} %%{customdata[7]}<br>counted as zero: %{customdata[9]}<extra></extra>",
    ))
    if limited.any():
        traces.append(ticks(limits, min(20, height), 2.5, CUT.colour, "threshold", limited))
    if written.any():
        traces.append(side_text(rows[written], [f"{count:,} above" for count in np.array(above)[written]], x=100))
    top = int(means.argmax())
    distinct = in_order(names)
    title = distinct[0] if len(distinct) == 1 else "APoZ (near zero for activations without exact zeros)"
    alt = f"{title} in {counted(len(layers), 'layer')}: highest mean in {layers[top]} at {percent(means[top] / 100)}"
    alt += f"; {sum(above):,} of {len(neurons):,} neurons are above the thresholds." if limited.any() else "."
    return figure(
        traces, alt, 90 + height * len(layers), hovermode="y",
        xaxis=percent_axis(range=[0, 100], dtick=25, title=title), yaxis=rows_axis(layers),
        margin=dict(r=96 if written.any() else 24),
    )


def apoz_histogram(
    apoz: np.ndarray, threshold: float | None = None, bins: int = 40, name: str = "APoZ"
) -> go.Figure:
    """A histogram of APoZ, split at the threshold into kept and removed neurons.

    apoz: 1-d, 0..1, one value per neuron. threshold: the APoZ (0..1) above which neurons are removed. name: the label
    of APoZ.
    """
    apoz = require_apoz(apoz)
    edges = np.linspace(0, 1, bins + 1)
    above = apoz > (np.inf if threshold is None else threshold)
    kept, removed = (np.histogram(part, edges)[0] for part in (apoz[~above], apoz[above]))
    details = np.stack([100 * edges[:-1], 100 * edges[1:], kept, removed], axis=1)
    parts = [(kept, "kept", KEPT)] + ([(removed, "removed", CUT)] if threshold is not None else [])
    traces = [
        go.Bar(
            x=100 * (edges[:-1] + edges[1:]) / 2, y=count, width=100 / bins, name=f"{count.sum():,} {part}",
            customdata=details, showlegend=threshold is not None,
            marker=dict(color=mark.colour, line_width=0, pattern=dict(shape=mark.pattern, fillmode="replace", size=6)),
            hovertemplate=f"{name} " "%{customdata[0]:.1f} to %{customdata[1]:.1f} %<br>%{customdata[2]:,} kept, "
            "%{customdata[3]:,} removed<extra></extra>",
        )
        for count, part, mark in parts
    ]
    chart = figure(
        traces, f"{name} of {apoz.size:,} neurons: half of them above {percent(np.median(apoz))}, the highest "
        f"{percent(apoz.max())}.", 260, barmode="stack", margin=dict(t=8 if threshold is None else 48, r=24),
        xaxis=percent_axis(range=[0, 100], dtick=25, title=name), yaxis=dict(title="neurons", rangemode="tozero"),
    )
    if threshold is not None:
        right = threshold > 0.5  # the label is on the side with more room
        chart.add_vline(
            100 * threshold, line=dict(color=CUT.colour, dash="dash", width=2), annotation=dict(
                text=f"threshold {percent(threshold)}", xanchor="right" if right else "left", showarrow=False,
                y=1, yanchor="bottom"))
        chart.layout.meta["alt"] = chart.layout.meta["alt"][:-1] + (
            f"; {above.sum():,} are above the threshold of {percent(threshold)}.")
    return chart


def apoz_strip(apoz: np.ndarray, name: str = "APoZ") -> go.Figure:
    """The APoZ of the neurons of a layer, one cell per neuron, highest first. Wide layers wrap into rows.

    apoz: 1-d, 0..1, in the order of the layer's neurons. name: the label of APoZ.
    """
    apoz = require_apoz(apoz)
    order = np.argsort(-apoz, kind="stable")
    columns = min(apoz.size, STRIP_COLUMNS)
    whole = apoz.size // columns * columns
    traces = []
    for first, part in ((0, order[:whole]), (whole // columns, order[whole:])):  # a shorter last row has its own trace
        if part.size:
            indices = part.reshape(-1, min(columns, part.size))
            traces.append(go.Heatmap(
                z=_cells(apoz[indices]), y0=first, dy=1, coloraxis="coloraxis", xgap=int(apoz.size <= 64), ygap=2,
                customdata=np.stack([indices, 100 * apoz[indices]], axis=2).astype(np.float32),
                hovertemplate="neuron %{customdata[0]:d}<br>" f"{name} " "%{customdata[1]:.2f} %<extra></extra>",
            ))
    rows = -(-apoz.size // columns)
    alt = (
        f"{apoz.size:,} neurons sorted by {name}, from {percent(apoz.max())} (neuron {order[0]}) to "
        f"{percent(apoz.min())} (neuron {order[-1]}); {(apoz > 0.9).sum():,} are above 90 %."
    )
    return figure(
        traces, alt, 54 + (36 if rows == 1 else max(9, 20 - rows) * rows),
        coloraxis=_colours(orientation="h", y=0, yanchor="top", x=0.5),
        xaxis=dict(visible=False), yaxis=dict(visible=False, range=[rows - 0.5, -0.5]), margin=dict(t=4, b=44),
    )


def apoz_heatmap(neurons: pd.DataFrame) -> go.Figure:
    """The APoZ of all neurons, one row per layer, sorted from the highest to the lowest.

    neurons: layer, neuron, apoz (0..1), one row per neuron, layers in depth order. Every row spans the full width,
    sampled at no more than 200 evenly spaced ranks (fewer if there are many layers).
    """
    neurons = _measured(neurons)
    layers = in_order(neurons.layer)
    ranked = [np.sort(group.to_numpy())[::-1] for _, group in neurons.groupby("layer", sort=False).apoz]
    columns = min(HEATMAP_COLUMNS, max(row.size for row in ranked), max(24, HEATMAP_CELLS // len(layers)))
    shares = (np.arange(columns) + 0.5) / columns
    z = _cells(np.stack([row[(shares * row.size).astype(int)] for row in ranked]))
    mostly_zero = [float((row > 0.9).mean()) for row in ranked]
    top = int(np.argmax(mostly_zero))
    alt = (
        f"APoZ of {len(neurons):,} neurons in {counted(len(layers), 'layer')}, sorted within each layer: "
        f"{layers[top]} has the largest share above 90 %, {percent(mostly_zero[top])} of its neurons."
    )
    return figure(
        [go.Heatmap(
            z=z, x=100 * shares, ygap=2 if row_height(len(layers)) >= TEXT_HEIGHT else 0, coloraxis="coloraxis",
            customdata=[[layer] * columns for layer in layers],
            hovertemplate="<b>%{customdata}</b><br>%{x:.0f} % of the neurons have an APoZ of at least %{z} %"
            "<extra></extra>",
        )], alt, 96 + row_height(len(layers)) * len(layers),
        coloraxis=_colours(len=min(240, row_height(len(layers)) * len(layers)), lenmode="pixels", y=1, yanchor="top"),
        xaxis=percent_axis(title="neurons, highest APoZ first", showgrid=False), yaxis=rows_axis(layers),
        margin=dict(t=8),
    )


def _measured(neurons: pd.DataFrame) -> pd.DataFrame:
    """The neurons with a measured APoZ."""
    neurons = require(neurons, "neurons", ["layer", "neuron", "apoz"])
    return require(neurons.dropna(subset="apoz"), "neurons with an APoZ", ["layer", "neuron", "apoz"])


def _cells(apoz: np.ndarray) -> np.ndarray:
    """APoZ 0..1 as integer per cent, one byte per cell."""
    cells: np.ndarray = np.rint(100 * apoz).astype(np.uint8)
    return cells


def _colours(**place: Any) -> dict[str, Any]:
    """Cividis from 0 to 100 %, with a colour bar at the given place."""
    return dict(colorscale="Cividis", cmin=0, cmax=100, colorbar=PERCENT_BAR | dict(len=1, title="") | place)
