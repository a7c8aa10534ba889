"""The table of all runs, in which the user selects those to compare."""

import zlib
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.compare.run_table import MORE
from dashboard.compare.verdict import comparable_runs
from dashboard.glossary import about
from dashboard.session import headline, links, run_reader
from dashboard.text import plain
from dashboard.widgets import elements, sizes
from dashboard.widgets.next_step import next_step
from trimcore.tables import ACCURACY, Metric

SETTINGS = ["model", "data", "criterion", "seed"]  # columns that often have one value
LONGEST = 280  # pixels of the column of names, so that the results beside it fit the page


def with_tags(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with all the tags that the user selects. The selection is shown only if there are tags."""
    known = sorted({tag for tags in table.tags.dropna() for tag in tags})
    if not known:
        return table
    wanted = st.multiselect("Filter by tags", known, key="tags_wanted", placeholder="All runs")
    has = [set(wanted) <= set(tags or ()) for tags in table.tags]
    return table[has].reset_index(drop=True)


def with_metric(table: pd.DataFrame) -> tuple[pd.DataFrame, set[Metric]]:
    """The table as it is shown, with the results in one column that is named after their metric, and the metrics that
    occur."""
    metrics = set(table.metric[table.metric_final.notna()])
    name = headline.result_column(metrics)
    shown = table.assign(metric_final=headline.result_values(table.metric_final, table.metric)).drop(columns="metric")
    return shown.rename(columns={"metric_final": name}), metrics or {ACCURACY}


def without_constants(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table without the settings that are the same in all rows, so that it fits the page, and these as text."""
    same = [name for name in SETTINGS if table[name].nunique(dropna=False) == 1]
    said = [f"{name} {value}" for name in same if (value := table[name].iloc[0]) not in (None, "")]
    return table.drop(columns=same), said


def choose(table: pd.DataFrame) -> list[str]:
    """The selected runs. Without a selection, the newest run and those that can be compared with it."""
    table = table[[name for name in table if name not in MORE or table[name].notna().any()]]
    ids: list[str] = table.id.tolist()
    none: dict[str, list[Any]] = {"rows": [], "columns": [], "cells": []}
    key = f"compared_{zlib.crc32(' '.join(ids).encode())}"  # a selection is by row and must not move to other runs
    if links.should_apply("runs"):
        rows: list[int] = links.read("runs", lambda text: [ids.index(run_id) for run_id in text.split("~")], [])
        st.session_state[key] = {"selection": none | {"rows": rows}}
    table, same = without_constants(table)
    shown, metrics = with_metric(table.drop(columns="id"))
    chosen = st.dataframe(
        shown, hide_index=True, key=key, on_select="rerun", placeholder="—",
        selection_mode="multi-row", alt="Runs with compression and test results",
        column_config=elements.with_help(shown, {
            "run": st.column_config.TextColumn(width=min(7 * int(shown.run.str.len().max()), LONGEST)),
            "compression": st.column_config.NumberColumn(format="%.2f×"),
            "MACs ratio": st.column_config.NumberColumn("MACs", format="%.1f×", help=about("MACs ratio")),
            "latency ratio": st.column_config.NumberColumn("latency", format="%.1f×", help=about("latency ratio")),
            "latency ratio, batch 1": st.column_config.NumberColumn(
                "latency, batch 1", format="%.1f×", help=about("latency ratio, batch 1")),
            "parameters": st.column_config.NumberColumn(format="localized"),
            **{f"test {metric.name}": st.column_config.NumberColumn(format=headline.number_format(metric))
               for metric in metrics if len(metrics) == 1},
            "non-zero parameters": st.column_config.NumberColumn(format="localized"),
            sizes.NONZERO: st.column_config.NumberColumn(format="%.2f×"),
            "verification": st.column_config.NumberColumn(format="percent"),
        }),
    )  # fmt: skip
    if same:
        st.caption(f"The same in all runs: {plain(', '.join(same))}.")
    picked = [ids[row] for row in chosen.selection.rows if row < len(ids)]
    links.track("runs", lambda: "~".join(picked))
    if picked:
        return picked
    trimmed = [i for i, count in zip(table.id, table.iterations, strict=True) if count]
    if trimmed:
        st.caption("No run is selected. The newest run is shown with the runs that can be compared with it.")
    else:
        st.info("None of these runs has finished a cut yet. Launch a plan, and compare its run after its first "
                "iteration.", icon=":material/hourglass_top:")  # fmt: skip
        next_step("Open Plan", "plan", "to_plan")
    return comparable_runs({i: run_reader.spec_of(i) for i in trimmed})[:6]
