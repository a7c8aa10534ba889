"""The headline metric of runs in texts and tables. Pure functions, also for the HTML report."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from trimcore import runs, tables
from trimcore.tables import ACCURACY, Metric

MIXED = "test metric"  # the column of a table of runs with different metrics


def value_columns(table: pd.DataFrame) -> list[str]:
    """The columns of the paper's table that hold values of the metric."""
    return [name for name in table.columns if name.startswith(("initial ", "final "))]


def result_column(metrics: Iterable[Metric]) -> str:
    """The name of the column with the values of these metrics: `test accuracy`, or MIXED if they differ."""
    names = {metric.name for metric in metrics} or {ACCURACY.name}
    return f"test {names.pop()}" if len(names) == 1 else MIXED


def result_values(values: pd.Series, metrics: Iterable[Metric]) -> pd.Series:
    """The cells of that column: numbers if all have the same metric, else texts that name it: `mIoU 72.10%`. metrics:
    the metric of each value. Only metrics with a value count."""
    pairs = list(zip(values, metrics, strict=True))
    if len({metric for value, metric in pairs if pd.notna(value)}) < 2:
        return values.astype(float)
    texts = [f"{metric.name} {metric.text(value)}" if pd.notna(value) else None for value, metric in pairs]
    return pd.Series(texts, index=values.index, dtype=object)


def number_format(metric: Metric) -> str:
    """The format of a column of its values in a table on a page."""
    return "percent" if metric.percent else "%.4g"


def direction(metric: Metric) -> str:
    """A note for metrics whose lower values are better; "" for others."""
    return "" if metric.higher_is_better else "Lower is better."


def others_text(events: list[dict[str, Any]]) -> str:
    """The metrics of the result on the test split besides the headline: `pixel accuracy 0.9337`. "" if it has none."""
    metric, row = tables.metric_of(events), tables.latest(events, "iteration").get(runs.result_in(events), {})
    found = (row.get("metrics") or {}).get("test") or {}
    return ", ".join(f"{name} {value:.4g}" for name, value in found.items() if name != metric.name)


def table_notes(events: list[dict[str, Any]]) -> str:
    """What the values in the paper's table mean, in sentences below it."""
    metric, others = tables.metric_of(events), others_text(events)
    notes = [f"{metric.title} is measured on the test split.", direction(metric),
             f"Initial {metric.name} is measured after the cut and before retraining.",
             f"The result of the run is iteration {runs.result_in(events)}.",
             f"Its other metrics on the test split: {others}." if others else ""]  # fmt: skip
    return " ".join(filter(None, notes))
