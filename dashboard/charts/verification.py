"""Charts of a verification, which decides whether two images show the same person or class."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, integer_step, percent_axis
from dashboard.charts.marks import FINAL, GREY, SERIES
from dashboard.charts.tables import counted, in_order, percent, require


def roc(curves: pd.DataFrame) -> go.Figure:
    """ROC curves with the area under each: matching pairs found against non-matching pairs accepted.

    curves: curve (its name), auc (0..1), false_positive and true_positive (0..1), one row per point, in order.
    """
    curves = require(curves, "curves", ["curve", "auc", "false_positive", "true_positive"])
    names = in_order(curves.curve)
    areas = curves.groupby("curve", sort=False).auc.first()
    chance = go.Scatter(
        x=[0, 100], y=[0, 100], mode="lines", name="chance", hoverinfo="skip", line=dict(color=GREY, dash="dash"),
        showlegend=False,
    )
    traces = [
        go.Scatter(
            x=100 * rows.false_positive, y=100 * rows.true_positive, name=f"{name}: AUC {areas[name]:.4f}",
            mode="lines", line=dict(color=SERIES[number % len(SERIES)], width=2),
            hovertemplate=f"<b>{name}</b><br>" "true positive rate %{y:.1f} %<br>false positive rate %{x:.1f} %"
            "<extra></extra>",
        )
        for number, (name, rows) in enumerate(curves.groupby("curve", sort=False))
    ]
    text = ", ".join(f"{name} {areas[name]:.4f}" for name in names)
    return figure(
        [chance, *traces], f"ROC curves of {counted(len(names), 'verification')}; the areas under the curves are: "
        f"{text}.", 340,
        xaxis=percent_axis(title="false positive rate", range=[0, 101], dtick=25),
        yaxis=percent_axis(title="true positive rate", range=[0, 101], dtick=25),
        margin=dict(t=18 + 18 * len(names), r=24),
    )


def verification_history(verifications: pd.DataFrame) -> go.Figure:
    """Verification accuracy by iteration, with its standard error.

    verifications: iteration, accuracy and standard_error (0..1; of the mean over the folds, NaN if unknown).
    """
    rows = require(verifications, "verifications", ["iteration", "accuracy", "standard_error"])
    rows = rows.sort_values("iteration", ignore_index=True)
    errors = 100 * rows.standard_error.astype(float).fillna(0)
    texts = np.where(errors > 0, [f" ± {error:.2f}" for error in errors], "")
    first, last = rows.accuracy.iloc[0], rows.accuracy.iloc[-1]
    line = go.Scatter(
        x=rows.iteration, y=100 * rows.accuracy, mode="lines+markers", showlegend=False,
        line=dict(color=FINAL.colour, width=2), marker=dict(symbol=FINAL.symbol, size=8),
        error_y=dict(type="data", array=errors, color=FINAL.colour, thickness=1.5, width=5), customdata=texts,
        hovertemplate="iteration %{x}<br>%{y:.2f}%{customdata} %<extra></extra>",
    )
    return figure(
        [line], f"Verification accuracy over {counted(len(rows), 'iteration')}: first {percent(first)}, last "
        f"{percent(last)}.", 280, yaxis=percent_axis(), margin=dict(t=8),
        xaxis=dict(title="iteration", tick0=0, dtick=integer_step(rows.iteration.max()), showgrid=False,
                   zeroline=False),
    )
