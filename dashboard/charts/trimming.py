"""A chart of every neuron in every iteration: which ones are left, and how often each is zero."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure
from dashboard.charts.marks import FAINT, PERCENT_BAR
from dashboard.charts.tables import counted, in_order, require, rows_of

COLUMNS = 20  # cells in a row of a panel
GAP = 3  # empty cells between panels
ROW = 9  # pixels
LABELS = 54  # pixels below the panels


def trimming(neurons: pd.DataFrame, labels: Mapping[int, str]) -> go.Figure:
    """One panel per iteration, one cell per neuron, coloured by its APoZ; removed neurons are grey.

    neurons: iteration, layer, original_neuron, apoz (0..1), as in `tables.profiles`, layers in depth order. labels:
    iteration -> the text below its panel (markup). A neuron has the same place in all panels. Those that stay longest
    come first, so that the coloured part of each layer shrinks from panel to panel.
    """
    neurons = require(neurons, "neurons", ["iteration", "layer", "original_neuron", "apoz"])
    iterations, layers = sorted(labels), in_order(neurons.layer)
    width = len(iterations) * (COLUMNS + GAP) - GAP
    rows, middle = 0, []
    places: dict[tuple[str, int], tuple[int, int]] = {}
    for layer in layers:
        of_layer = neurons[neurons.layer == layer]
        order = _longest_first(of_layer)
        places |= {(layer, neuron): (rows + i // COLUMNS, i % COLUMNS) for i, neuron in enumerate(order)}
        height = -(-len(order) // COLUMNS)
        middle.append(rows + (height - 1) / 2)
        rows += height + 1
    rows -= 1
    kept, removed = np.full((rows, width), np.nan), np.full((rows, width), np.nan)
    names = np.full((rows, width), "", dtype=object)
    for panel, iteration in enumerate(iterations):
        for (layer, neuron), (row, column) in places.items():
            removed[row, column + panel * (COLUMNS + GAP)] = 1
            names[row, column + panel * (COLUMNS + GAP)] = f"{layer}, neuron {neuron}"
        for cell in rows_of(neurons[neurons.iteration == iteration]):
            row, column = places[cell.layer, cell.original_neuron]
            kept[row, column + panel * (COLUMNS + GAP)] = 100 * cell.apoz
    removed[~np.isnan(kept)] = np.nan
    cells = dict(xgap=1, ygap=1, customdata=names, hoverongaps=False)
    left = [int((neurons.iteration == iteration).sum()) for iteration in (iterations[0], iterations[-1])]
    return figure(
        [
            go.Heatmap(z=removed, colorscale=[[0, FAINT], [1, FAINT]], showscale=False, **cells,
                       hovertemplate="%{customdata}<br>removed<extra></extra>"),
            go.Heatmap(z=kept, coloraxis="coloraxis", **cells,
                       hovertemplate="%{customdata}<br>zero for %{z:.0f} % of the inputs<extra></extra>"),
        ],
        f"Every neuron in {counted(len(iterations), 'iteration')}: {left[0]:,} at first, {left[1]:,} at the end.",
        ROW * rows + LABELS + 48,
        coloraxis=dict(colorscale="Cividis", cmin=0, cmax=100, colorbar=PERCENT_BAR | dict(
            orientation="h", y=-LABELS / (ROW * rows), yanchor="top", x=0, xanchor="left", len=0.45,
            thickness=8, dtick=50, tickangle=0, title=dict(text="", side="top"))),
        xaxis=dict(
            tickvals=[panel * (COLUMNS + GAP) + (COLUMNS - 1) / 2 for panel in range(len(iterations))],
            ticktext=[labels[iteration] for iteration in iterations], ticks="", showgrid=False, zeroline=False,
            fixedrange=True, tickangle=0,
        ),
        yaxis=dict(tickvals=middle, ticktext=layers, ticks="", range=[rows - 0.5, -0.5], showgrid=False,
                   zeroline=False, fixedrange=True, automargin=True),
        margin=dict(t=4, l=4, r=4),
    )  # fmt: skip


def _longest_first(neurons: pd.DataFrame) -> list[int]:
    """The neurons of a layer: those that are left in the most iterations first, and of equals the least often zero."""
    table = neurons.groupby("original_neuron").agg(stays=("iteration", "max"), apoz=("apoz", "first"))
    return table.sort_values(["stays", "apoz"], ascending=[False, True], kind="stable").index.tolist()
