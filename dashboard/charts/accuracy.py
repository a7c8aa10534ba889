"""Charts over the epochs of one run: accuracy with its cuts, and loss."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, integer_step, percent_axis, segments
from dashboard.charts.marks import FAINT, FINAL, GREY, INITIAL
from dashboard.charts.tables import counted, percent, require

EPOCHS = ["iteration", "epoch", "accuracy", "loss"]
CUTS = ["iteration", "label", "accuracy_initial", "accuracy_final"]
MAX_NUMBERS = 12  # cut numbers along the top; more would overlap on a narrow screen


def accuracy_curve(epochs: pd.DataFrame, cuts: pd.DataFrame, into: str = "ReLU") -> go.Figure:
    """Accuracy over all epochs with a mark at each cut: what each cut costs, and how much retraining recovers.

    epochs: iteration, epoch, accuracy (validation, 0..1), loss; one row per epoch. If there was a conversion, also
    phase ("convert" for its epochs); `into` names its target. cuts: iteration, label (what was removed),
    accuracy_initial and accuracy_final (0..1, NaN while unknown). It may be empty; iteration 0 is the base network and
    not a cut.
    The y axis shows the range in which the run settles. Values below it are written along its lower edge.
    """
    epochs = _timeline(epochs, into)
    measured = _placed(cuts, epochs)
    floor, ceiling = _working_range(epochs, measured)
    cuts = measured[measured.iteration > 0]
    first = epochs.groupby("iteration").head(1).set_index("iteration")
    retrained = cuts[cuts.iteration.isin(first.index)]
    recovery = first.loc[retrained.iteration]

    def line(x, y, colour, **style):
        return go.Scatter(x=x, y=y, mode="lines", line=dict(color=colour, **style), hoverinfo="skip", showlegend=False)

    def points(rows, x, y, mark, name, hover, **settings):
        return go.Scatter(
            x=x, y=y.clip(lower=floor), name=name, cliponaxis=False, hovertemplate=hover + "<extra></extra>",
            customdata=rows[["iteration", "label", "before", "initial", "final"]].to_numpy(),
            marker=dict(color=mark.colour, symbol=mark.symbol, size=9, line_width=2 if "open" in mark.symbol else 0),
            **settings,
        )

    traces = [go.Scatter(
        x=_gaps(epochs, epochs.time), y=_gaps(epochs, epochs.percent), mode="lines+markers",
        name="each epoch", marker_size=4,  # dots, so that the first epoch is visible before there is a line
        line=dict(color=FINAL.colour, width=2), customdata=_gaps(epochs, epochs[["place", "epoch"]].to_numpy()),
        hovertemplate="%{customdata[0]}, epoch %{customdata[1]}<br>accuracy %{y:.2f} %<extra></extra>",
    )]
    if len(cuts):
        traces = [
            line(segments(cuts.start, cuts.start), segments(cuts.before, cuts.initial), INITIAL.colour, width=2),
            line(segments(retrained.start, recovery.time), segments(retrained.initial, recovery.percent), FINAL.colour,
                 dash="dot"),
            *traces,
            points(
                cuts, cuts.start, cuts.initial, INITIAL, "initial", "<b>cut %{customdata[0]}: %{customdata[1]}</b><br>"
                "before %{customdata[2]:.2f} %<br>initial %{customdata[3]:.2f} %",
                mode="markers+text", textposition="middle right",
                text=[percent(value / 100) if value < floor else "" for value in cuts.initial],
            ),
        ]
    if len(measured):
        traces.append(points(measured, measured.end, measured.final, FINAL, "final", mode="markers",
                             hover="<b>iteration %{customdata[0]}</b><br>final %{customdata[4]:.2f} %"))
    traces += [*_below_axis(epochs, cuts, floor), *[
        go.Scatter(
            x=[time], y=[ceiling], mode="text", text=f"to {into}", textposition="top right", cliponaxis=False,
            showlegend=False, hovertemplate=f"conversion to {into} starts<extra></extra>",
        ) for time in _conversions(epochs)
    ]]
    if len(cuts):
        numbered = cuts.iloc[::-(-len(cuts) // MAX_NUMBERS)]
        traces.append(go.Scatter(
            x=cuts.start, y=[ceiling] * len(cuts), mode="text", textposition="top center", cliponaxis=False,
            text=cuts.iteration.where(cuts.index.isin(numbered.index), ""), showlegend=False,
            customdata=cuts[["iteration", "label"]].to_numpy(),
            hovertemplate="<b>cut %{customdata[0]}: %{customdata[1]}</b><extra></extra>",
        ))
    return figure(
        traces, _accuracy_alt(epochs, cuts, into), 340, hoverdistance=30,
        shapes=_cut_lines([*_conversions(epochs), *cuts.start]),
        xaxis=_epoch_axis(epochs), yaxis=percent_axis(range=[floor, ceiling]), margin=dict(t=52),
    )


def loss_curve(epochs: pd.DataFrame) -> go.Figure:
    """Training loss over all epochs, with a thin line where an iteration or a conversion starts.

    epochs: iteration, epoch, accuracy (0..1), loss, optionally phase; one row per epoch.
    """
    epochs = _timeline(epochs)
    positive = epochs.loss[epochs.loss > 0]
    wide = len(positive) == len(epochs) and positive.max() > 20 * positive.min()
    lowest = epochs.loss.idxmin()
    alt = (
        f"Loss over {counted(len(epochs), 'epoch')}: last {epochs.loss.iloc[-1]:.3g}, lowest {epochs.loss[lowest]:.3g} "
        f"at epoch {epochs.time[lowest]}."
    )
    return figure(
        [go.Scatter(
            x=_gaps(epochs, epochs.time), y=_gaps(epochs, epochs.loss), mode="lines+markers", showlegend=False,
            line=dict(color=GREY, width=2), marker_size=4, hovertemplate="epoch %{x}<br>loss %{y:.4g}<extra></extra>",
        )], alt, 220, shapes=_cut_lines([*_conversions(epochs), *(epochs.time[epochs.iteration.diff() > 0] - 1)]),
        xaxis=_epoch_axis(epochs), margin=dict(t=8),
        yaxis=dict(type="log", dtick=1, minor_showgrid=False) if wide else dict(rangemode="tozero"),
    )


def _timeline(epochs, into="ReLU"):
    """`epochs` in order, with `percent`, `time` (the epoch counted over the whole run), `converting` (whether the
    activations are being converted) and `place` (the position in the run as text)."""
    epochs = require(epochs, "epochs", EPOCHS)
    epochs = epochs.assign(converting=epochs.phase == "convert" if "phase" in epochs else False)
    epochs = epochs.sort_values(["iteration", "converting", "epoch"], ignore_index=True)
    place = [f"conversion to {into}" if converting else f"iteration {iteration}"
             for iteration, converting in zip(epochs.iteration, epochs.converting, strict=True)]
    return epochs.assign(time=np.arange(1, len(epochs) + 1), percent=100 * epochs.accuracy, place=place)


def _conversions(epochs):
    """The time at which the conversion of the activations starts: one value, or none."""
    return (epochs.time[epochs.converting] - 1).head(1).tolist()


def _placed(cuts, epochs):
    """`cuts` with their times, accuracies in per cent, and `before`, the accuracy before each cut."""
    cuts = cuts.reindex(columns=CUTS).sort_values("iteration", ignore_index=True)
    counts = epochs.iteration.value_counts()
    start = cuts.iteration.map(lambda iteration: int((epochs.iteration < iteration).sum())).astype(int)
    cuts = cuts.assign(
        iteration=cuts.iteration.astype(int), start=start,
        end=start + cuts.iteration.map(counts).fillna(0).astype(int), label=cuts.label.fillna(""),
        initial=100 * cuts.accuracy_initial.astype(float), final=100 * cuts.accuracy_final.astype(float),
    )
    return cuts.assign(before=cuts.final.shift().fillna(cuts.start.map(epochs.set_index("time").percent)))


def _working_range(epochs, cuts):
    """The y range in per cent: everything before the first cut or if the range is narrow, else where the run settles.

    A run settles at its final accuracies and in the second half of each iteration. Initial accuracies and first epochs
    may be far below.
    """
    _, first, size = np.unique(epochs.iteration, return_index=True, return_counts=True)
    place = (np.arange(len(epochs)) - first.repeat(size)) / size.repeat(size)
    reached, initial, final = (rows.to_numpy(float) for rows in (epochs.percent, cuts.initial, cuts.final))
    settled = np.concatenate([reached[place >= 0.5], final])
    everything = np.concatenate([reached, initial, final])
    top, low, floor = np.nanmax(everything), np.nanquantile(settled, 0.05), np.nanmin(everything)
    if np.isfinite(initial).any():
        floor = max(floor, low - 1.5 * max(top - low, 1))
    pad = 0.06 * max(top - floor, 0.5)
    return max(0, floor - pad), top + pad


def _below_axis(epochs, cuts, floor):
    """The lowest epoch below the axis of each iteration, unless the mark of a cut already shows it."""
    hidden = epochs[epochs.percent < floor]
    if hidden.empty:
        return []
    hidden = hidden[~hidden.iteration.isin(cuts.iteration[cuts.initial < floor])]
    hidden = hidden.loc[hidden.groupby("iteration").percent.idxmin()]
    if hidden.empty:
        return []
    return [go.Scatter(
        x=hidden.time, y=[floor] * len(hidden), mode="markers+text", textposition="middle right", cliponaxis=False,
        text=[percent(share) for share in hidden.accuracy], hoverinfo="skip", showlegend=False,
        marker=dict(color=GREY, symbol="triangle-down", size=8),
    )]


def _gaps(epochs, values):
    """`values`, one per epoch, as a list with None between iterations, so that no line bridges a cut."""
    ends = epochs.index[epochs.iteration.ne(epochs.iteration.shift(-1))]
    gapped = list(values)
    for end in reversed(ends[:-1]):
        gapped.insert(end + 1, None)
    return gapped


def _cut_lines(times):
    line = dict(type="line", y0=0, y1=1, yref="paper", layer="below", line=dict(color=FAINT, width=1))
    return [line | dict(x0=time, x1=time) for time in times]


def _epoch_axis(epochs):
    return dict(title="epoch", range=[0, len(epochs) * 1.02], tick0=0, dtick=integer_step(len(epochs)), showgrid=False,
                zeroline=False)


def _accuracy_alt(epochs, cuts, into):
    alt = f"Accuracy over {counted(len(epochs), 'epoch')}: last {percent(epochs.accuracy.iloc[-1])}"
    for time in _conversions(epochs):
        alt += f"; conversion to {into} after epoch {time}"
    drops = (cuts.before - cuts.initial).dropna()
    if drops.empty:
        return alt + "."
    worst = cuts.loc[drops.idxmax()]
    alt += (
        f"; {counted(len(cuts), 'cut')}, the largest drop at cut {worst.iteration}, from "
        f"{percent(worst.before / 100)} to {percent(worst.initial / 100)}"
    )
    return alt + (f", recovered to {percent(worst.final / 100)}." if pd.notna(worst.final) else ".")
