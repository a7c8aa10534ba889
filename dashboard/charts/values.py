"""The values of a run's metric in charts: shares in per cent, other metrics as plain numbers."""

import html
from typing import Any

import pandas as pd

from dashboard.charts.frame import percent_axis
from dashboard.charts.tables import percent
from trimcore.tables import Metric


def scale(metric: Metric) -> float:
    """The factor between a value and the number that is drawn."""
    return 100.0 if metric.percent else 1.0


def said(metric: Metric, value: float) -> str:
    """A value as short text: `81 %`, `0.3125`."""
    return percent(value) if metric.percent else f"{value:.4g}"


def phrase(metric: Metric, value: float) -> str:
    """A value with its name in a sentence: `an accuracy of 81 %`, `mIoU 72 %`, `MAE 0.3125`."""
    return f"an accuracy of {said(metric, value)}" if metric.is_accuracy else f"{metric.name} {said(metric, value)}"


def hover(metric: Metric, place: str, digits: int = 2) -> str:
    """A drawn number in a hover text. place: such as `y` or `customdata[2]`."""
    return f"%{{{place}:.{digits}f}} %" if metric.percent else f"%{{{place}:.4~g}}"


def markup_name(metric: Metric) -> str:
    """The name in a chart's own text, which interprets markup."""
    return html.escape(metric.name, quote=False)


def metric_axis(metric: Metric, **settings: Any) -> dict[str, Any]:
    """An axis of drawn numbers. It names any metric but accuracy, and says if lower is better."""
    title = {} if metric.is_accuracy else {"title": axis_title(metric)}
    return (percent_axis() if metric.percent else dict(zeroline=False)) | title | settings


def axis_title(metric: Metric) -> str:
    return markup_name(metric) + ("" if metric.higher_is_better else ", lower is better")


def losses(metric: Metric, before: pd.Series | float, after: pd.Series) -> pd.Series:
    """`metric.loss` of each value."""
    return before - after if metric.higher_is_better else after - before


def best_place(metric: Metric, values: pd.Series) -> Any:
    """The index of the best value."""
    return values.idxmax() if metric.higher_is_better else values.idxmin()


def worst_place(metric: Metric, values: pd.Series) -> Any:
    """The index of the worst value."""
    return values.idxmin() if metric.higher_is_better else values.idxmax()
