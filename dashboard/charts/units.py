"""Charts of maxout units: how the maxima are shared among the neurons of a unit."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from dashboard.charts.frame import figure, percent_axis
from dashboard.charts.history import layer_history
from dashboard.charts.marks import ACCENT, GREY, PERCENT_BAR
from dashboard.charts.tables import counted, percent, require

COLUMNS = ["unit", "member", "neuron", "relevance"]
BINS = 24
DOMINANT = 0.9  # a neuron with at least this share of its unit's maxima dominates the unit


def unit_heatmap(units: pd.DataFrame, original: bool = False) -> go.Figure:
    """The relevance of each neuron, one row per unit, one cell per neuron.

    units: unit, member, neuron, relevance (0..1, adding up to 1 in each unit) of one layer; one row per neuron. Units
    are sorted by the share of their strongest neuron (ties: by that of the second, and so on), and the neurons of each
    unit from the most relevant to the least. With `original`, everything is in the order of the layer. The middle of
    the colour scale is 1/k, where a neuron is the maximum as often as the others of its unit.
    """
    relevance, neurons = _matrix(units)
    count, k = relevance.shape
    strongest = relevance.max(1)
    order = np.arange(count)
    if not original:
        inside = np.argsort(-relevance, axis=1, kind="stable")
        relevance, neurons = (np.take_along_axis(values, inside, 1) for values in (relevance, neurons))
        order = np.lexsort(-relevance.T[::-1])  # by the first column, then by the second, ...
        relevance, neurons = relevance[order], neurons[order]
    cells = np.rint(100 * relevance).astype(np.uint8)
    details = np.stack([np.repeat(order[:, None], k, 1), neurons, 100 * relevance], axis=2).astype(np.float32)
    never = int((relevance == 0).sum())
    alt = (
        f"How often each of {relevance.size:,} neurons is the maximum of its unit, in {counted(count, 'unit')} of {k}: "
        f"{counted(int((strongest >= DOMINANT).sum()), 'unit')} with a neuron that is the maximum at least 90 % of the "
        f"time, {counted(never, 'neuron')} that {'is' if never == 1 else 'are'} never the maximum."
    )
    names = [f"neuron {i + 1}" for i in range(k)] if original else [_place(i, k) for i in range(k)]
    return figure(
        [go.Heatmap(
            z=cells, customdata=details, coloraxis="coloraxis", xgap=1, ygap=1 if count <= 64 else 0,
            hovertemplate="unit %{customdata[0]:d}, neuron %{customdata[1]:d}<br>relevance %{customdata[2]:.1f} %"
            "<extra></extra>",
        )], alt, 64 + min(460, max(4 * count, 220)),
        coloraxis=dict(
            colorscale=_around(k), cmin=0, cmax=100,
            colorbar=PERCENT_BAR | dict(tickmode="array", tickvals=[0, 100 / k, 100], len=1, title="",
                                 ticktext=["0 %", f"{100 / k:.0f} %", "100 %"]),
        ),
        xaxis=dict(tickvals=list(range(k)), ticktext=names, side="top", ticks="", showgrid=False, zeroline=False),
        yaxis=dict(title="units", autorange="reversed", showgrid=False, zeroline=False, ticks="",
                   showticklabels=original), margin=dict(t=28),
    )


def unit_imbalance(units: pd.DataFrame) -> go.Figure:
    """A histogram of the share of maxima that the strongest neuron of each unit has.

    units: as for `unit_heatmap`. The share ranges from 1/k, where all neurons of a unit are equal, to 100 %.
    """
    relevance, _ = _matrix(units)
    count, k = relevance.shape
    strongest = relevance.max(1)
    edges = np.linspace(1 / k, 1, BINS + 1)
    bins = np.histogram(strongest.clip(1 / k, 1), edges)[0]
    chart = figure(
        [go.Bar(
            x=100 * (edges[:-1] + edges[1:]) / 2, y=bins, width=100 * (edges[1] - edges[0]), showlegend=False,
            marker=dict(color=ACCENT, line_width=0), customdata=np.stack([100 * edges[:-1], 100 * edges[1:]], axis=1),
            hovertemplate="%{customdata[0]:.1f} to %{customdata[1]:.1f} %<br>%{y:,} units<extra></extra>",
        )],
        f"Share of the strongest neuron in {counted(count, 'unit')} of {k}: half of them above "
        f"{percent(np.median(strongest))}, the highest {percent(strongest.max())}; an even share is {percent(1 / k)}.",
        240, xaxis=percent_axis(range=[0, 101], dtick=25, title="share of the strongest neuron"),
        yaxis=dict(title="units", rangemode="tozero"), margin=dict(t=28, r=24),
    )
    return chart.add_vline(100 / k, line=dict(color=GREY, dash="dash", width=2), annotation=dict(
        text="even share", xanchor="right" if k == 2 else "left", showarrow=False, y=1, yanchor="bottom"))


def unit_history(units: pd.DataFrame) -> go.Figure:
    """The mean relevance of the weakest neuron of each unit by iteration, relative to 1/k: at 100 %, the weakest neuron
    is the maximum as often as the others, for any k.

    units: iteration, layer, unit, member, relevance (0..1), one row per neuron.
    """
    units = require(units, "units", ["iteration", "layer", "unit", "member", "relevance"])
    each = units.groupby(["iteration", "layer", "unit"], sort=False).relevance.agg(["min", "size"]).reset_index()
    rows = each.groupby(["iteration", "layer"], sort=False).agg(
        value=("min", "mean"), units=("unit", "size"), k=("size", "first")).reset_index()
    rows = rows.assign(value=100 * rows.k * rows.value)
    last = rows.groupby("layer", sort=False).value.last()
    alt = (
        f"Relevance of the weakest neuron of each unit in {counted(len(last), 'layer')} by iteration, relative to an "
        f"even share: at the end {', '.join(f'{n} {percent(v / 100)}' for n, v in last.items())}."
    )
    counts = {"units": "units", "k": "neurons per unit"}
    chart = layer_history(rows, "of an even share", counts, alt, scale="Cividis", shape="linear")
    return chart.update_layout(showlegend=True).update_yaxes(rangemode="tozero")


def _matrix(units: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Relevance and neuron numbers as (units, k)."""
    units = require(units, "units", COLUMNS).sort_values(["unit", "member"])
    k = int(units.member.max()) + 1
    if len(units) % k or (units.member.to_numpy().reshape(-1, k) != np.arange(k)).any():
        raise ValueError(f"units differ in size; needed: the members 0 to {k - 1} in every unit")
    return units.relevance.to_numpy(float).reshape(-1, k), units.neuron.to_numpy().reshape(-1, k)


def _around(k: int) -> list[list[Any]]:
    """Cividis with its middle at 1/k, because most neurons of a large unit are far from 100 %."""
    shares = np.linspace(0, 1, 21)
    places = np.interp(shares, [0, 0.5, 1], [0, 1 / k, 1])
    return [[float(place), colour] for place, colour in zip(places, sample_colorscale("Cividis", shares), strict=True)]


def _place(rank: int, k: int) -> str:
    ordinal = {1: "2nd", 2: "3rd"}.get(rank, f"{rank + 1}th")
    return "strongest" if rank == 0 else "weakest" if rank == k - 1 else ordinal
