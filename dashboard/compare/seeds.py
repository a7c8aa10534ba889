"""Statistics over runs that differ only in the seed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.session import run_reader
from dashboard.text import plain
from dashboard.widgets import elements, sizes
from trimcore import tables
from trimcore.spec import Spec
from trimcore.tables import ACCURACY, Metric

MEASURES = ["metric_final", "compression", sizes.NONZERO, "verification"]  # that have statistics over seeds


def differ_only_in_seed(specs: Mapping[str, Spec], parents: Mapping[str, Spec] | None = None) -> list[list[str]]:
    """Groups of two or more runs whose specs differ only in the seed, in the order of `specs` (newest first). Each seed
    occurs once, with its first run. Branches belong together if their parents do and their iterations are the same.
    `parents`: further runs that some of them branch from, such as the base networks of a sweep."""
    known = {**(parents or {}), **specs}
    groups: dict[str, dict[int, str]] = {}
    for run_id, asked in specs.items():
        groups.setdefault(json.dumps(_without_seed(asked, known), sort_keys=True), {}).setdefault(asked.seed, run_id)
    return [list(own.values()) for own in groups.values() if len(own) > 1]


def _without_seed(asked: Spec, specs: Mapping[str, Spec]) -> dict[str, Any]:
    values = asked.model_dump(exclude={"name", "seed", "parent"})
    if asked.parent is None:
        return values
    others = {run_id: spec for run_id, spec in specs.items() if run_id != asked.parent.run}  # ends also in a cycle
    parent = specs.get(asked.parent.run)
    line = asked.parent.run if parent is None else _without_seed(parent, others)
    return {**values, "parent": [line, asked.parent.iteration]}


def spread(results: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Statistics over seeds. results: one row per seed, with the columns `measures`. Returns one row per available
    measure: measure, seeds (how many have it), mean, std (of the sample, n - 1; NaN with one seed), min, max."""
    rows = [
        {"measure": name, "seeds": own.size, "mean": own.mean(), "std": own.std(ddof=1), "min": own.min(),
         "max": own.max()}
        for name in measures if (own := results[name].dropna().astype(float)).size
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["measure", "seeds", "mean", "std", "min", "max"])


def mean_over_seeds(points: pd.DataFrame, group_of: Mapping[str, str]) -> pd.DataFrame:
    """The points of a frontier with one line per group: at each iteration, the mean over the runs that finished it.

    points: run, iteration, compression, metric_initial, metric_final. group_of: run -> the name of its group; other
    runs keep their own lines. Further columns: seeds (number of runs), metric_std and compression_std (of the sample;
    NaN for one run).
    """
    named = points.assign(run=points.run.map(lambda run: group_of.get(run, run)))
    named = named.astype({"metric_initial": float, "metric_final": float})
    return named.groupby(["run", "iteration"], sort=False, as_index=False).agg(
        compression=("compression", "mean"), compression_std=("compression", "std"),
        metric_initial=("metric_initial", "mean"), metric_final=("metric_final", "mean"),
        metric_std=("metric_final", "std"), seeds=("compression", "size"),
    )  # fmt: skip


def formatted(row: pd.Series, metric: Metric = ACCURACY) -> pd.Series:
    """A row of `spread` with its numbers as text in the unit of the measure. metric: of the runs."""
    if row.measure == "metric_final":
        row, text = row.replace("metric_final", f"test {metric.name}"), metric.text
    else:
        text = ("{:.2%}" if row.measure == "verification" else "{:.2f}×").format
    return row.map(lambda value: text(value) if isinstance(value, float) and pd.notna(value) else value)


def show(table: pd.DataFrame, groups: list[list[str]]) -> None:
    """A table for each group of runs that differ only in their seed."""
    if groups:
        st.markdown("##### Spread over seeds")
    for own in groups:
        results = table[table.id.isin(own)].reindex(columns=["seed", *MEASURES])
        found = spread(results, MEASURES)
        metric = tables.metric_of(run_reader.events(own[0]))
        numbers = ", ".join(map(str, sorted(results.seed)))
        st.markdown(plain(f"{run_reader.short_title(own[0])}: seeds {numbers}"))
        st.dataframe(
            found.apply(formatted, axis=1, metric=metric), hide_index=True, placeholder="—", width="content",
            alt="Mean and spread over seeds", column_config=elements.with_help(found),
        )  # fmt: skip
