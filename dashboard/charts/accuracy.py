"""Charts over the epochs of one run: its metric with its cuts, and loss."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, integer_step, segments
from dashboard.charts.marks import FAINT, FINAL, GREY, INITIAL, Mark
from dashboard.charts.tables import counted, require
from dashboard.charts.values import best_place, hover, losses, markup_name, metric_axis, said, scale, worst_place
from trimcore.tables import ACCURACY, Metric

EPOCHS = ["iteration", "epoch", "metric", "loss"]
CUTS = ["iteration", "label", "metric_initial", "metric_final"]
MAX_NUMBERS = 12  # cut numbers along the top; more would overlap on a narrow screen


def accuracy_curve(
    epochs: pd.DataFrame, cuts: pd.DataFrame, into: str = "ReLU", *, metric: Metric = ACCURACY
) -> go.Figure:
    """The metric over all epochs with a mark at each cut: what each cut costs, and how much retraining recovers.

    epochs: iteration, epoch, metric (on validation), loss; one row per epoch. If there was a conversion, also
    phase ("convert" for its epochs); `into` names its target. cuts: iteration, label (what was removed),
    metric_initial and metric_final (NaN while unknown). It may be empty; iteration 0 is the base network and not a cut.
    The y axis shows the range in which the run settles. Worse values are written along its worse edge.
    """
    epochs = _timeline(epochs, into, metric)
    measured = _placed(cuts, epochs, metric)
    worst, best = _working_range(epochs, measured, metric)
    low, ceiling = sorted([worst, best])
    cuts = measured[measured.iteration > 0]
    first = epochs.groupby("iteration").head(1).set_index("iteration")
    retrained = cuts[cuts.iteration.isin(first.index)]
    recovery = first.loc[retrained.iteration]

    def line(x: list[Any], y: list[Any], colour: str, **style: Any) -> go.Scatter:
        return go.Scatter(x=x, y=y, mode="lines", line=dict(color=colour, **style), hoverinfo="skip", showlegend=False)

    def points(
        rows: pd.DataFrame, x: pd.Series, y: pd.Series, mark: Mark, name: str, shown: str, **settings: Any
    ) -> go.Scatter:
        return go.Scatter(
            x=x, y=y.clip(lower=worst) if metric.higher_is_better else y.clip(upper=worst), name=name,
            cliponaxis=False, hovertemplate=shown + "<extra></extra>",
            customdata=rows[["iteration", "label", "before", "initial", "final"]].to_numpy(),
            marker=dict(color=mark.colour, symbol=mark.symbol, size=9, line_width=2 if "open" in mark.symbol else 0),
            **settings,
        )

    traces = [go.Scatter(
        x=_gaps(epochs, epochs.time), y=_gaps(epochs, epochs.value), mode="lines+markers",
        name="each epoch", marker_size=4,  # dots, so that the first epoch is visible before there is a line
        line=dict(color=FINAL.colour, width=2), customdata=_gaps(epochs, epochs[["place", "epoch"]].to_numpy()),
        hovertemplate="%{customdata[0]}, epoch %{customdata[1]}<br>"
        f"{markup_name(metric)} {hover(metric, 'y')}<extra></extra>",
    )]
    if len(cuts):
        traces = [
            line(segments(cuts.start, cuts.start), segments(cuts.before, cuts.initial), INITIAL.colour, width=2),
            line(segments(retrained.start, recovery.time), segments(retrained.initial, recovery.value), FINAL.colour,
                 dash="dot"),
            *traces,
            points(
                cuts, cuts.start, cuts.initial, INITIAL, "initial", "<b>cut %{customdata[0]}: %{customdata[1]}</b><br>"
                f"before {hover(metric, 'customdata[2]')}<br>initial {hover(metric, 'customdata[3]')}",
                mode="markers+text", textposition="middle right", text=[
                    said(metric, value / scale(metric)) if metric.loss(worst, value) > 0 else ""
                    for value in cuts.initial
                ],
            ),
        ]
    if len(measured):
        traces.append(points(measured, measured.end, measured.final, FINAL, "final", mode="markers",
                             shown=f"<b>iteration %{{customdata[0]}}</b><br>final {hover(metric, 'customdata[4]')}"))
    if len(tops := _best_epochs(epochs, metric)):
        traces.append(go.Scatter(
            x=tops.time, y=tops.value.clip(lower=worst) if metric.higher_is_better else tops.value.clip(upper=worst),
            mode="markers", name="best epoch", customdata=tops[["place", "epoch"]].to_numpy(), cliponaxis=False,
            marker=dict(color=FINAL.colour, symbol="star-open", size=11, line_width=1.5),
            hovertemplate="best epoch of %{customdata[0]}: %{customdata[1]}<br>"
            f"{markup_name(metric)} {hover(metric, 'y')}<extra></extra>",
        ))
    traces += [*_off_axis(epochs, cuts, worst, metric), *[
        go.Scatter(
            x=[time], y=[ceiling], mode="text", text=f"to {into}", textposition="top right", cliponaxis=False,
            showlegend=False, hovertemplate=f"conversion to {into} starts<extra></extra>",
        ) for time in _conversions(epochs)
    ]]
    if len(cuts):
        numbered = cuts.iloc[::-(-len(cuts) // MAX_NUMBERS)]
        traces.append(go.Scatter(
            x=cuts.start, y=[ceiling] * len(cuts), mode="text", textposition="top center", cliponaxis=False,
            text=cuts.iteration.where(cuts.index.isin(numbered.index), "").map(
                lambda number: number if metric.higher_is_better else f"{number}<br>\u00a0"  # above marks on that edge
            ), showlegend=False,
            customdata=cuts[["iteration", "label"]].to_numpy(),
            hovertemplate="<b>cut %{customdata[0]}: %{customdata[1]}</b><extra></extra>",
        ))
    return figure(
        traces, _alt(epochs, cuts, into, metric), 340, hoverdistance=30,
        shapes=_cut_lines([*_conversions(epochs), *cuts.start]),
        xaxis=_epoch_axis(epochs), yaxis=metric_axis(metric, range=[low, ceiling]), margin=dict(t=52),
    )


def loss_curve(epochs: pd.DataFrame) -> go.Figure:
    """Training loss over all epochs, with a thin line where an iteration or a conversion starts.

    epochs: iteration, epoch, metric, loss, optionally phase; one row per epoch.
    """
    epochs = _timeline(epochs)
    positive = epochs.loss[epochs.loss > 0]
    wide = len(positive) == len(epochs) and positive.max() > 20 * positive.min()
    lowest = epochs.iloc[epochs.loss.argmin()]
    alt = (
        f"Loss over {counted(len(epochs), 'epoch')}: last {epochs.loss.iloc[-1]:.3g}, lowest {lowest.loss:.3g} "
        f"at epoch {lowest.time}."
    )
    return figure(
        [go.Scatter(
            x=_gaps(epochs, epochs.time), y=_gaps(epochs, epochs.loss), mode="lines+markers", showlegend=False,
            line=dict(color=GREY, width=2), marker_size=4, hovertemplate="epoch %{x}<br>loss %{y:.4g}<extra></extra>",
        )], alt, 220, shapes=_cut_lines([*_conversions(epochs), *(epochs.time[epochs.iteration.diff() > 0] - 1)]),
        xaxis=_epoch_axis(epochs), margin=dict(t=8),
        yaxis=dict(type="log", dtick=1, minor_showgrid=False) if wide else dict(rangemode="tozero"),
    )


def _timeline(epochs: pd.DataFrame, into: str = "ReLU", metric: Metric = ACCURACY) -> pd.DataFrame:
    """`epochs` in order, with `value` (the drawn metric), `time` (the epoch counted over the whole run), `converting`
    (whether the activations are being converted) and `place` (the position in the run as text)."""
    epochs = require(epochs, "epochs", EPOCHS)
    epochs = epochs.assign(converting=epochs.phase == "convert" if "phase" in epochs else False)
    epochs = epochs.sort_values(["iteration", "converting", "epoch"], ignore_index=True)
    place = [f"conversion to {into}" if converting else f"iteration {iteration}"
             for iteration, converting in zip(epochs.iteration, epochs.converting, strict=True)]
    value = scale(metric) * epochs.metric.astype(float)
    return epochs.assign(time=np.arange(1, len(epochs) + 1), value=value, place=place)


def _conversions(epochs: pd.DataFrame) -> list[int]:
    """The time at which the conversion of the activations starts: one value, or none."""
    return (epochs.time[epochs.converting] - 1).head(1).tolist()


def _placed(cuts: pd.DataFrame, epochs: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """`cuts` with their times, the drawn values, and `before`, the value before each cut."""
    cuts = cuts.reindex(columns=CUTS).sort_values("iteration", ignore_index=True)
    counts = epochs.iteration.value_counts()
    start = cuts.iteration.map(lambda iteration: int((epochs.iteration < iteration).sum())).astype(int)
    cuts = cuts.assign(
        iteration=cuts.iteration.astype(int), start=start,
        end=start + cuts.iteration.map(counts).fillna(0).astype(int), label=cuts.label.fillna(""),
        initial=scale(metric) * cuts.metric_initial.astype(float),
        final=scale(metric) * cuts.metric_final.astype(float),
    )
    return cuts.assign(before=cuts.final.shift().fillna(cuts.start.map(epochs.set_index("time").value)))


def _working_range(epochs: pd.DataFrame, cuts: pd.DataFrame, metric: Metric) -> tuple[float, float]:
    """The worst and the best drawn value of the y axis: everything before the first cut or if the range is narrow, else
    where the run settles.

    A run settles at its final values and in the second half of each iteration. Initial values and first epochs may be
    far worse.
    """
    _, first, size = np.unique(epochs.iteration, return_index=True, return_counts=True)
    place = (np.arange(len(epochs)) - first.repeat(size)) / size.repeat(size)
    sign = 1 if metric.higher_is_better else -1
    reached, initial, final = (sign * rows.to_numpy(float) for rows in (epochs.value, cuts.initial, cuts.final))
    settled = np.concatenate([reached[place >= 0.5], final])
    everything = np.concatenate([reached, initial, final])
    point = 1.0 if metric.percent else 0.01 * np.nanmax(np.abs(everything)) or 1.0
    top, floor = np.nanmax(everything), np.nanmin(everything)
    if np.isfinite(initial).any() and np.isfinite(settled).any():
        low = np.nanquantile(settled, 0.05)
        floor = max(floor, low - 1.5 * max(top - low, point))
    pad = 0.06 * max(top - floor, 0.5 * point)
    edges = sign * (floor - pad), sign * (top + pad)
    return tuple(max(0, edge) for edge in edges) if np.nanmin(sign * everything) >= 0 else edges


def _best_epochs(epochs: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """The best epoch of each iteration with several of them, unless it is the last: then a final mark is there."""
    found = []
    for _, own in epochs.groupby(["iteration", "converting"], sort=False):
        best = own.loc[best_place(metric, own.value)]
        if own.value.notna().all() and metric.is_better(best.value, own.value.iloc[-1]):
            found.append(best)
    return pd.DataFrame(found, columns=epochs.columns)


def _off_axis(epochs: pd.DataFrame, cuts: pd.DataFrame, worst: float, metric: Metric) -> list[go.Scatter]:
    """The worst epoch of each iteration that lies beyond the axis, unless the mark of a cut already shows it."""
    hidden = epochs[losses(metric, worst, epochs.value) > 0]
    hidden = hidden[~hidden.iteration.isin(cuts.iteration[losses(metric, worst, cuts.initial) > 0])]
    if hidden.empty:
        return []
    hidden = hidden.loc[[worst_place(metric, own) for _, own in hidden.groupby("iteration").value]]
    return [go.Scatter(
        x=hidden.time, y=[worst] * len(hidden), mode="markers+text", textposition="middle right", cliponaxis=False,
        text=[said(metric, value) for value in hidden.metric], hoverinfo="skip", showlegend=False,
        marker=dict(color=GREY, symbol=f"triangle-{'down' if metric.higher_is_better else 'up'}", size=8),
    )]


def _gaps(epochs: pd.DataFrame, values: Iterable[Any]) -> list[Any]:
    """`values`, one per epoch, as a list with None between iterations, so that no line bridges a cut."""
    ends = epochs.index[epochs.iteration.ne(epochs.iteration.shift(-1))]
    gapped = list(values)
    for end in reversed(ends[:-1]):
        gapped.insert(end + 1, None)
    return gapped


def _cut_lines(times: Iterable[float]) -> list[dict[str, Any]]:
    line = dict(type="line", y0=0, y1=1, yref="paper", layer="below", line=dict(color=FAINT, width=1))
    return [line | dict(x0=time, x1=time) for time in times]


def _epoch_axis(epochs: pd.DataFrame) -> dict[str, Any]:
    return dict(title="epoch", range=[0, len(epochs) * 1.02], tick0=0, dtick=integer_step(len(epochs)), showgrid=False,
                zeroline=False)


def _alt(epochs: pd.DataFrame, cuts: pd.DataFrame, into: str, metric: Metric) -> str:
    def drawn(value: float) -> str:
        return said(metric, value / scale(metric))

    alt = f"{metric.title} over {counted(len(epochs), 'epoch')}: last {drawn(epochs.value.iloc[-1])}"
    for time in _conversions(epochs):
        alt += f"; conversion to {into} after epoch {time}"
    lost = losses(metric, cuts.before, cuts.initial)
    if lost.isna().all():
        return alt + "."
    worst = cuts.iloc[lost.argmax()]
    alt += (
        f"; {counted(len(cuts), 'cut')}, the largest {'drop' if metric.higher_is_better else 'rise'} at cut "
        f"{worst.iteration}, from {drawn(worst.before)} to {drawn(worst.initial)}"
    )
    return alt + (f", recovered to {drawn(worst.final)}." if pd.notna(worst.final) else ".")
