"""Charts of weight pruning: zeros by layer, parameters and file sizes. Counts and bytes never share an axis."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, integer_step
from dashboard.charts.grouping import MANY, largest, rest
from dashboard.charts.history import SINGLE, layer_history
from dashboard.charts.marks import ACCENT, GREY, WIDTH_SCALE
from dashboard.charts.tables import counted, in_order, percent, require

SPARSITY = ["iteration", "layer", "weights", "zeros"]


def sparsity_history(layers: pd.DataFrame) -> go.Figure:
    """The share of zero weights of each layer by iteration.

    layers: iteration, layer, weights, zeros (counts of the layer's weight tensor). With many layers, those with the
    most weights have their own lines and the others share one.
    """
    layers = _summarized(require(layers, "layers", SPARSITY))
    values = layers.assign(value=100 * layers.zeros / layers.weights)
    last = values.groupby("layer", sort=False).value.last()
    alt = (
        f"Share of zero weights in {counted(len(last), 'layer')} by iteration: at the end, highest in "
        f"{last.idxmax()} with {percent(last.max() / 100)}."
    )
    counts = {"zeros": "zeros", "weights": "weights"}
    chart = layer_history(values, "zero", counts, alt, scale=WIDTH_SCALE, shape="linear")
    if chart.data[0].type == "scatter":  # lines may overlap, so the legend has their last values
        for line, share in zip(chart.data, last, strict=True):
            line.name = f"{line.name} {percent(share / 100)}"
        chart.update_yaxes(range=[0, 101], dtick=25)
    return chart.update_layout(showlegend=True)


def parameter_history(iterations: pd.DataFrame) -> go.Figure:
    """All parameters and non-zero parameters by iteration.

    iterations: iteration, parameters, nonzero_parameters (counts).
    """
    return _dense_and_sparse(iterations, "parameters", ("parameters", "all"), ("nonzero_parameters", "non-zero"))


def byte_history(iterations: pd.DataFrame) -> go.Figure:
    """The size of a dense file with every weight, and of a sparse file with non-zero weights and gaps, by iteration.

    iterations: iteration, bytes_dense, bytes_sparse (of a safetensors file).
    """
    return _dense_and_sparse(iterations, "bytes", ("bytes_dense", "dense file"), ("bytes_sparse", "sparse file"))


def _dense_and_sparse(iterations: pd.DataFrame, unit: str, *series: tuple[str, str]) -> go.Figure:
    """One line for each (column, label) of `series`, all in the same unit, on an axis that starts at zero."""
    columns = [column for column, _ in series]
    rows = require(iterations, "iterations", ["iteration", *columns]).dropna(subset=columns)
    rows = require(rows, f"iterations with {columns[0]}", ["iteration"]).sort_values("iteration")
    traces = [
        go.Scatter(
            x=rows.iteration, y=rows[column].astype(float), name=label, mode="lines+markers", marker_size=5,
            line=dict(color=colour, width=2, shape="hv"),
            hovertemplate=f"iteration %{{x}}<br>%{{y:,.0f}} {unit}, {label}<extra></extra>",
        )
        for (column, label), colour in zip(series, (GREY, ACCENT), strict=True)
    ]
    last = ", ".join(f"{int(rows[column].iloc[-1]):,} {label}" for column, label in series)
    first, end = rows.iteration.iloc[0], rows.iteration.iloc[-1]
    return figure(
        traces, f"{unit.capitalize()} over {counted(len(rows), 'iteration')}: at the end {last}.", 280,
        yaxis=dict(title=unit, rangemode="tozero", tickformat=".3~s", zeroline=False),
        xaxis=dict(title="iteration", tick0=first, dtick=integer_step(end - first), showgrid=False, zeroline=False),
    )


def _summarized(layers: pd.DataFrame) -> pd.DataFrame:
    """If there are many layers, those with the most weights are kept and the others are merged into one."""
    names = in_order(layers.layer)
    if len(names) <= MANY:
        return layers
    shown = layers.layer.map(largest(layers.groupby("layer", sort=False).weights.max(), SINGLE))
    others = layers[~shown].groupby("iteration", as_index=False)[["weights", "zeros"]].sum()
    others = others.assign(layer=rest(len(names) - SINGLE))
    return pd.concat([layers.loc[shown, SPARSITY], others[SPARSITY]], ignore_index=True)
