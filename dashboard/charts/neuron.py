"""Charts of one neuron: its incoming weights, its activations, and its APoZ by class."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.charts.frame import TEXT_HEIGHT, figure, percent_axis
from dashboard.charts.marks import ACCENT, CONTRAST, GREY, PERCENT_BAR
from dashboard.charts.tables import counted, percent

SLICES = 16  # maximum slices of a filter
CELLS = 20_000  # maximum cells of all slices together; each has the index of its input
ACROSS, WIDTH = 6, 330  # slices per row, and their total width in pixels
ROW = 128  # cells per row of a strip, as in `neurons.apoz_strip`
BARS = 20  # more classes than this are drawn as a strip
AROUND_ZERO = [[0, ACCENT], [0.5, "rgba(138,143,152,0.10)"], [1, CONTRAST]]  # the middle suits light and dark pages


def filter_slices(weights: np.ndarray) -> go.Figure:
    """The incoming weights of each input as a small image, the strongest inputs first.

    weights: (inputs, h, w). At most SLICES inputs are shown, sorted by norm. Vectors (inputs,) and kernels with a
    single cell are drawn as a strip in the order of the inputs, wrapped into rows. Kernels with more dimensions are
    flattened. A map with more than CELLS cells is subsampled.
    """
    weights = np.asarray(weights, dtype=np.float32)
    if not weights.size:
        raise ValueError(f"weights are empty (shape {weights.shape}); needed: (inputs, h, w) or (inputs,)")
    inputs = len(weights)
    if weights.size == inputs:
        return _weight_strip(weights.reshape(-1))
    tiles = weights.reshape(inputs, -1, weights.shape[-1])
    order = np.argsort(-np.sqrt((tiles.astype(float) ** 2).sum((1, 2))), kind="stable")
    thin = math.ceil(math.sqrt(tiles[0].size / CELLS))
    tiles = tiles[:, ::thin, ::thin]
    _, h, w = tiles.shape
    order = order[: min(SLICES, max(1, CELLS // (h * w)))]
    columns = min(len(order), ACROSS)
    rows, right = -(-len(order) // columns), w + max(1, round(0.12 * w))
    cell = min(16.0, WIDTH / (columns * right))  # pixels
    gap = max(1, round(TEXT_HEIGHT / cell))  # room for a line of text above each slice
    down = h + gap
    z = np.full((rows * down, columns * right), np.nan, np.float32)
    which = np.zeros(z.shape, np.int32)
    corners = [(down * (place // columns) + down - h, right * (place % columns)) for place in range(len(order))]
    for number, (top, left) in zip(order, corners, strict=True):
        z[top : top + h, left : left + w] = tiles[number]
        which[top : top + h, left : left + w] = number
    names = go.Scatter(
        x=[left + (w - 1) / 2 for _, left in corners], y=[top - (gap + 1) / 2 for top, _ in corners], mode="text",
        text=[str(number) for number in order], hoverinfo="skip", showlegend=False,
    )
    shown = f"the strongest {len(order)} of {inputs:,}" if len(order) < inputs else f"all {inputs:,}"
    alt = (
        f"Weights of {shown} inputs, {h} by {w} each, from {weights.min():+.3g} to {weights.max():+.3g}; the "
        f"strongest input is {order[0]}."
    )
    return figure(
        [_weights(z, which), names], alt, 16 + round(rows * down * cell), coloraxis=_signed(weights),
        margin=dict(l=0, r=0, t=8, b=8),
        xaxis=dict(visible=False, constrain="domain"),
        yaxis=dict(visible=False, autorange="reversed", scaleanchor="x", constrain="domain"),
    )


def _weight_strip(weights: np.ndarray) -> go.Figure:
    columns = min(len(weights), ROW)
    rows = -(-len(weights) // columns)
    z = np.full(rows * columns, np.nan, np.float32)
    z[: len(weights)] = weights
    order = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    strongest = int(np.abs(weights).argmax())
    alt = (
        f"Weights of {counted(len(weights), 'input')}, from {weights.min():+.3g} to {weights.max():+.3g}; the "
        f"strongest input is {strongest}."
    )
    return figure(
        [_weights(z.reshape(rows, columns), order)], alt, 16 + (36 if rows == 1 else max(9, 20 - rows) * rows),
        coloraxis=_signed(weights), margin=dict(t=4, b=8),
        xaxis=dict(visible=False), yaxis=dict(visible=False, range=[rows - 0.5, -0.5]),
    )


def _weights(z: np.ndarray, which: np.ndarray) -> go.Heatmap:
    return go.Heatmap(z=z, customdata=which, coloraxis="coloraxis", hoverongaps=False,
                      hovertemplate="input %{customdata}<br>weight %{z:+.4f}<extra></extra>")


def _signed(values: np.ndarray) -> dict[str, Any]:
    """A colour scale that is symmetric around zero. The page states its range."""
    most = float(np.abs(values).max()) or 1.0
    return dict(colorscale=AROUND_ZERO, cmin=-most, cmax=most, showscale=False)


def activation_histogram(counts: np.ndarray, edges: np.ndarray, exact_zeros: int = 0) -> go.Figure:
    """A histogram of the activations without the exact zeros.

    counts: (bins,). edges: (bins + 1,), ascending. exact_zeros: the number of exact zeros. They appear only in the alt
    text, because their bar would dwarf all others.
    """
    counts, edges = np.asarray(counts), np.asarray(edges, dtype=float)
    if len(edges) != len(counts) + 1 or not counts.sum():
        raise ValueError(f"counts are empty or do not lie between edges: {counts.sum()} activations, {len(counts)} "
                         f"bins, {len(edges)} edges; needed: one edge more than bins, and some activations")
    whole, middle = int(counts.sum()) + exact_zeros, (edges[:-1] + edges[1:]) / 2
    half = float(middle[np.searchsorted(counts.cumsum(), counts.sum() / 2)])
    return figure(
        [go.Bar(
            x=middle, y=counts, width=np.diff(edges), showlegend=False, marker=dict(color=ACCENT, line_width=0),
            customdata=np.stack([edges[:-1], edges[1:], 100 * counts / whole], axis=1),
            hovertemplate="%{customdata[0]:.3g} to %{customdata[1]:.3g}<br>%{y:,} positions, %{customdata[2]:.2f} % of "
            "all<extra></extra>",
        )],
        f"{int(counts.sum()):,} non-zero activations, half of them above {half:.3g}, the highest near "
        f"{edges[1:][counts > 0].max():.3g}; {percent(exact_zeros / whole)} of all are exactly zero and not drawn.",
        220, xaxis=dict(title="activation", zeroline=bool(edges[0] < 0)), margin=dict(t=8, r=24),
        yaxis=dict(title="positions", rangemode="tozero"),
    )


def apoz_by_class(apoz: np.ndarray, classes: Sequence[str], name: str = "APoZ") -> go.Figure:
    """The APoZ in each class: one bar per class, or one cell if there are many.

    apoz: (classes,) 0..1, NaN for classes without images. name: the label of APoZ.
    """
    apoz = np.asarray(apoz, dtype=float)
    seen = ~np.isnan(apoz)
    if apoz.shape != (len(classes),) or not seen.any():
        raise ValueError(f"apoz has shape {apoz.shape} for {len(classes)} classes; needed: one value per class, with "
                         "at least one class that has images")
    least, most = int(np.nanargmin(apoz)), int(np.nanargmax(apoz))
    alt = (
        f"{name} in {int(seen.sum()):,} {'classes' if seen.sum() > 1 else 'class'}: lowest for {classes[least]} with "
        f"{percent(apoz[least])}, highest for {classes[most]} with {percent(apoz[most])}."
    )
    hover = "<b>%{customdata}</b><br>" + name + " %{y:.1f} %<extra></extra>"
    colours = dict(colorscale="Cividis", cmin=0, cmax=100)
    if len(classes) <= BARS:
        places = np.flatnonzero(seen).tolist()
        bars = go.Bar(
            x=places, y=100 * apoz[seen], customdata=[classes[i] for i in places], hovertemplate=hover, width=0.8,
            marker=dict(color=100 * apoz[seen], coloraxis="coloraxis", line=dict(color=GREY, width=1)),
            showlegend=False,
        )  # fmt: skip
        return figure(
            [bars], alt, 220, coloraxis=colours | dict(showscale=False), margin=dict(t=8, r=24),
            yaxis=percent_axis(range=[0, 100], dtick=25, title=name),
            xaxis=dict(tickvals=list(range(len(classes))), ticktext=[_short(c) for c in classes], showgrid=False,
                       range=[-0.6, len(classes) - 0.4]),
        )  # fmt: skip
    columns = min(len(classes), ROW)
    rows = -(-len(classes) // columns)
    blank = rows * columns - len(classes)
    z = np.append(100 * apoz, [np.nan] * blank).astype(np.float32).reshape(rows, columns)
    names = np.array([*classes, *[""] * blank], dtype=object).reshape(rows, columns)
    return figure(
        [go.Heatmap(z=z, customdata=names.tolist(), coloraxis="coloraxis", ygap=2, hoverongaps=False,
                    hovertemplate=hover.replace("%{y", "%{z"))],
        alt, 98 + max(14, 40 - 6 * rows) * rows,
        coloraxis=colours | dict(colorbar=PERCENT_BAR | dict(orientation="h", y=0, yanchor="top", len=1, title="")),
        xaxis=dict(visible=False), yaxis=dict(visible=False, range=[rows - 0.5, -0.5]), margin=dict(t=4, b=44),
    )


def _short(name: str) -> str:
    return name if len(name) <= 10 else f"{name[:9]}…"
