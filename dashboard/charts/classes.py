"""Charts by class: the APoZ of each neuron, and how trimming changed accuracy and confusions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, percent_axis, row_height, rows_axis, segments
from dashboard.charts.marks import ACCENT, CONTRAST, FINAL, GREY, PERCENT_BAR, REFERENCE, Mark
from dashboard.charts.tables import percent, require

COLUMNS, ROWS = 1024, 200  # maximum cells of the heatmap, one byte each
MAX_NAMED = 3  # neurons or classes that the label of a cell names
WORSE, INK = [[0, ACCENT], [0.5, "#c3c9d1"], [1, CONTRAST]], "#1d2430"  # opaque, so that text is readable on any page
MAX_WRITTEN = 20  # classes of a confusion matrix whose cells have room for numbers


def class_heatmap(
    apoz: np.ndarray, classes: Sequence[str], order: Sequence[int] | np.ndarray, name: str = "APoZ"
) -> go.Figure:
    """The APoZ of each neuron (column) in each class (row). Dark cells are active neurons.

    apoz: (classes, neurons) 0..1. Classes without images have rows of NaN and are not shown. order: the neurons from
    left to right. With more than COLUMNS neurons or ROWS classes, a cell is the mean of its neighbours (see
    `cells_of`).
    """
    apoz, order = np.asarray(apoz), np.asarray(order, dtype=int)
    seen = np.flatnonzero(~np.isnan(apoz).any(1)) if apoz.ndim == 2 and apoz.size else np.array([], int)
    if not len(seen) or len(order) != apoz.shape[1]:
        raise ValueError(f"apoz has shape {apoz.shape} for {len(order)} neurons; needed: (classes, neurons), with at "
                         "least one class that has images")  # fmt: skip
    rows, columns = cells_of(len(seen), ROWS), cells_of(len(order), COLUMNS)
    means = np.add.reduceat(apoz[seen][:, order].astype(np.float64), columns, axis=1)
    means = np.add.reduceat(means, rows, axis=0)
    sizes = np.outer(np.diff([*rows, len(seen)]), np.diff([*columns, len(order)]))
    z = np.rint(100 * (means / sizes).clip(0, 1)).astype(np.uint8)
    below = [_cell_label([classes[i] for i in part]) for part in np.split(seen, rows[1:])]
    across = [_cell_label(part.tolist()) for part in np.split(order, columns[1:])]
    active = int((apoz[seen].min(0) < 0.5).sum())
    binned = f" A cell is the mean of up to {sizes.max():,} values." if sizes.max() > 1 else ""
    alt = (
        f"{name} of {len(order):,} neurons in {len(seen):,} classes: {active:,} neurons are active at more than half "
        f"of the positions for some class, {int((apoz[seen].min(0) == 1).sum()):,} are never active.{binned}"
    )
    height = 100 + min(520, max(120, row_height(len(below)) * len(below)))
    step = -(-14 * len(below) // (height - 100))
    return figure(
        [go.Heatmap(
            z=z, x=across, y=_distinct(below), coloraxis="coloraxis", ygap=1 if len(below) <= 40 else 0,
            hovertemplate=f"neuron %{{x}}<br>class %{{y}}<br>{name} %{{z}} %<extra></extra>",
        )], alt, height,
        coloraxis=dict(colorscale="Cividis", cmin=0, cmax=100, colorbar=PERCENT_BAR | dict(len=1, title="")),
        xaxis=dict(type="category", title="neurons", showticklabels=len(order) <= 40, showgrid=False, ticks=""),
        yaxis=dict(type="category", autorange="reversed", showgrid=False, ticks="", automargin=True,
                   tickvals=_distinct(below)[::step], ticktext=[_short(entry) for entry in below[::step]]),
        margin=dict(t=8),
    )  # fmt: skip


def cells_of(count: int, most: int) -> np.ndarray:
    """The first index of each cell, if `count` items are grouped into at most `most` cells as small as possible."""
    return np.arange(0, count, -(-count // most))


def class_accuracy(table: pd.DataFrame, before: str = "before", after: str = "after") -> go.Figure:
    """The accuracy of each class before and after, the largest loss at the top.

    table: class, before, after (0..1), one row per class. Classes without images have NaN and are not shown.
    """
    table = require(table, "accuracies", ["class", "before", "after"]).dropna()
    table = require(table, "accuracies of classes with images", ["class", "before", "after"])
    table = table.assign(change=table.after - table.before).sort_values("change", kind="stable").reset_index(drop=True)
    rows, lost = np.arange(len(table)), int((table.change < 0).sum())
    details = np.stack([100 * table.before, 100 * table.after, 100 * table.change], axis=1).round(2)

    def lines(chosen: pd.Series, colour: str) -> go.Scatter:
        return go.Scatter(
            x=segments(100 * table.before[chosen], 100 * table.after[chosen]), y=segments(rows[chosen], rows[chosen]),
            mode="lines", line=dict(color=colour, width=3), opacity=0.6, hoverinfo="skip", showlegend=False,
        )

    def dots(values: pd.Series, mark: Mark, name: str, size: int) -> go.Scatter:
        return go.Scatter(
            x=100 * values, y=rows, mode="markers", name=name,
            customdata=list(zip(table["class"], *details.T, strict=True)),
            marker=dict(symbol=mark.symbol, color=mark.colour, size=size),
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]:.1f} % → %{customdata[2]:.1f} % "
            "(%{customdata[3]:+.1f})<extra></extra>",
        )  # fmt: skip

    worst = table.iloc[0]
    alt = f"Accuracy of {len(table):,} classes, {before} and {after}: {lost:,} lost accuracy"
    alt += f", the most in {worst['class']}, {percent(worst.before)} to {percent(worst.after)}." if lost else "."
    return figure(
        [lines(table.change < 0, CONTRAST), lines(table.change > 0, ACCENT),
         dots(table.before, REFERENCE, before, 8), dots(table.after, FINAL, after, 9)],
        alt, 90 + row_height(len(table)) * len(table), xaxis=percent_axis(title="accuracy"),
        yaxis=rows_axis([str(name) for name in table["class"]]), margin=dict(t=40, r=24),
    )  # fmt: skip


def confusion_change(before: np.ndarray, after: np.ndarray, classes: Sequence[str]) -> go.Figure:
    """The change in the number of images for each true class (row) and predicted class (column).

    before, after: counts (classes, classes). The numbers are after - before. The colour shows better or worse: on the
    diagonal fewer is worse, everywhere else more is worse. Cells without a change are empty.
    """
    before, after = np.asarray(before, dtype=int), np.asarray(after, dtype=int)
    if before.shape != after.shape or before.shape != (len(classes), len(classes)) or not len(classes):
        raise ValueError(f"confusions have shapes {before.shape} and {after.shape} for {len(classes)} classes; needed: "
                         "(classes, classes) for both")  # fmt: skip
    change, diagonal = after - before, np.eye(len(classes), dtype=bool)
    harm = np.where(diagonal, -change, change)
    most = max(1, int(np.abs(harm).max()))
    axis = dict(tickvals=list(range(len(classes))), ticktext=[_short(name) for name in classes], showgrid=False,
                zeroline=False, ticks="", automargin=True)  # fmt: skip
    wrong, was = (int(matrix.sum() - matrix.trace()) for matrix in (after, before))
    alt = (
        f"Change in the confusions of {len(classes):,} classes: {was:,} images were misclassified before, {wrong:,} "
        f"after; {int((harm[~diagonal] > 0).sum()):,} confusions became more frequent."
    )
    heat = go.Heatmap(
        z=np.where(harm == 0, np.nan, harm).astype(np.float32), coloraxis="coloraxis", xgap=1, ygap=1,
        customdata=np.stack([before, after, change], axis=2).astype(np.int32),
        hovertext=[[f"{true} predicted as {name}" if true != name else f"{true} correct" for name in classes]
                   for true in classes],
        hovertemplate="<b>%{hovertext}</b><br>%{customdata[0]:,} before, %{customdata[1]:,} after "
        "(%{customdata[2]:+d})<extra></extra>",
    )  # fmt: skip
    rows, columns = np.nonzero(change if len(classes) <= MAX_WRITTEN else np.zeros_like(change))
    numbers = go.Scatter(  # a separate trace, because a heatmap chooses poor text colours
        x=list(columns), y=list(rows), mode="text", hoverinfo="skip", showlegend=False, textfont=dict(color=INK),
        text=[f"{change[cell]:+d}".replace("-", "−") for cell in zip(rows, columns, strict=True)],
    )
    own = [dict(type="rect", x0=i - 0.5, x1=i + 0.5, y0=i - 0.5, y1=i + 0.5, line=dict(color=GREY, width=1))
           for i in range(len(classes))]  # fmt: skip
    return figure(
        [heat, numbers], alt, 120 + min(560, max(180, 26 * len(classes))), margin=dict(t=8), shapes=own,
        coloraxis=dict(colorscale=WORSE, cmin=-most, cmax=most, colorbar=dict(
            thickness=10, outlinewidth=0, title="", tickvals=[-most, 0, most], ticktext=["better", "same", "worse"])),
        xaxis=axis | dict(title="predicted class"), yaxis=axis | dict(title="true class", autorange="reversed"),
    )  # fmt: skip


def _cell_label(names: Sequence[Any]) -> str:
    """The label of a cell: its neurons or classes, or the first few and their number."""
    shown = ", ".join(map(str, names[:MAX_NAMED]))
    return shown if len(names) <= MAX_NAMED else f"{shown}, … ({len(names)})"


def _distinct(names: list[str]) -> list[str]:
    """Labels made distinct, because a category axis would merge rows with equal labels."""
    return [name if names.count(name) == 1 else f"{name} #{place}" for place, name in enumerate(names)]


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"
