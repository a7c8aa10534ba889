"""The accuracy of each class over the iterations, as the run recorded it; on the pages Run and Report."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts import class_history as charts
from dashboard.widgets import elements
from trimcore import tables

HEADING = "Change in accuracy by class"
SEE_ALSO = "For the confusion matrix, open *APoZ and accuracy by class* on **Profile**."


def of_split(events: list[dict[str, Any]], split: str) -> pd.DataFrame:
    """The rows to draw. Empty for a run that recorded no classes or has not cut anything yet."""
    table = tables.class_accuracy(events)
    table = table[table.split == split]
    return table if table.iteration.nunique() > 1 else table.iloc[:0]


def expander(events: list[dict[str, Any]], run_id: str) -> None:
    """For Run: on the validation split, which decisions are based on. Collapsed at first."""
    if of_split(events, "validation").empty:
        return
    with st.expander(HEADING, key=f"pay_{run_id}", on_change="rerun", icon=":material/balance:") as box:
        if box.open:
            _draw(events, "validation")


def section(events: list[dict[str, Any]]) -> None:
    """For Report: on the test split, which no decision is based on."""
    if len(of_split(events, "test")):
        st.markdown(f"##### {HEADING}")
        _draw(events, "test")


def _draw(events: list[dict[str, Any]], split: str) -> None:
    table = of_split(events, split)
    elements.chart(charts.class_history(table), "class_history")
    st.caption(f"{caption(table, split)} {SEE_ALSO}")


def caption(table: pd.DataFrame, split: str) -> str:
    """The meaning of the cells, and the weight of one image. table: from `of_split`, of one run."""
    base = table[table.iteration == table.iteration.min()]
    examples, classes = base.examples[base.examples > 0], len(base)
    text = f"Change in {split} accuracy relative to the base, in points. Each iteration has two cells: after the cut "
    text += "(left) and after retraining (right). The full colour is the largest change after retraining; changes "
    text += "right after a cut can be larger. "
    if classes > charts.MAX_CLASSES:
        text += f"The {charts.MAX_CLASSES} of {classes:,} classes that lost the most accuracy are shown. "
    if len(examples):
        least = int(examples.min())
        text += f"In a class of {least:,} images, one image is {100 / least:.2g} point{'s' * (least != 100)}."
    return text.strip()
