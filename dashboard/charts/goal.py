"""A chart of what it costs to go further: the metric before retraining against the factor."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure
from dashboard.charts.marks import ACCENT, CONTRAST
from dashboard.charts.tables import require
from dashboard.charts.values import hover, metric_axis, said, scale
from trimcore.tables import Metric


def goal_curve(
    points: pd.DataFrame, recommended: float, chosen: tuple[float, float] | None, word: str, metric: Metric
) -> go.Figure:
    """The metric of the cut network before retraining over the factor, with the recommended factor and the chosen one.

    points: times (in ascending order, from 1), value. chosen: a factor, which need not be among them, and its value.
    word: what the factor counts, such as "smaller".
    """
    points = require(points, "points", ["times", "value"])
    drawn = points.assign(value=scale(metric) * points.value)
    shown = f"%{{x:g}}× {word}<br>{hover(metric, 'y', 1)} before retraining<extra></extra>"

    def mark(times: float, value: float, name: str, **style: Any) -> go.Scatter:
        return go.Scatter(x=[times], y=[scale(metric) * value], mode="markers", name=name, hovertemplate=shown,
                          cliponaxis=False, marker=style)  # fmt: skip

    best = points[points.times == recommended].value.iloc[0]
    traces = [
        go.Scatter(x=drawn.times, y=drawn.value, mode="lines+markers", line=dict(color=ACCENT, width=2), marker_size=5,
                   showlegend=False, hovertemplate=shown),
        mark(recommended, best, "recommended", symbol="star", size=14, color=ACCENT),
    ]  # fmt: skip
    if chosen:
        ring = dict(color=CONTRAST, width=2.5)
        traces.append(mark(*chosen, "chosen", symbol="circle-open", size=16, color=CONTRAST, line=ring))
    return figure(
        traces, f"{metric.title} before retraining from 1 to {points.times.iloc[-1]:g} times {word}: at the "
        f"recommended {recommended:g} times, it is {said(metric, best)}.", 220,
        xaxis=dict(type="log", tickvals=points.times.tolist(), ticktext=[f"{times:g}×" for times in points.times],
                   showgrid=False, title=f"times {word}"),
        yaxis=metric_axis(metric),
    )  # fmt: skip
