"""Which classes pay for the trim? What the run recorded of each class, on the pages Run and Report."""

import pandas as pd
import streamlit as st

from dashboard import frame
from dashboard.charts import class_history as charts
from trimcore import tables

QUESTION = "Which classes pay for it?"
WHERE = "The confusion matrix on **Profile** has what they are taken for, under *Which neurons serve which class?*"


def of_split(events: list[dict], split: str) -> pd.DataFrame:
    """What there is to draw: empty for a run that recorded no class, or has cut nothing yet."""
    table = tables.class_accuracy(events)
    table = table[table.split == split]
    return table if table.iteration.nunique() > 1 else table.iloc[:0]


def folded(events: list[dict], run_id: str) -> None:
    """For Run: on the validation split, by which decisions are made; closed until somebody opens it."""
    if of_split(events, "validation").empty:
        return
    with st.expander(QUESTION, key=f"pay_{run_id}", on_change="rerun", icon=":material/balance:") as box:
        if box.open:
            _drawn(events, "validation")


def shown(events: list[dict]) -> None:
    """For Report: on the test split, by which nothing was chosen."""
    if len(of_split(events, "test")):
        st.markdown(f"##### {QUESTION}")
        _drawn(events, "test")


def _drawn(events: list[dict], split: str) -> None:
    table = of_split(events, split)
    frame.chart(charts.class_history(table), "class_history")
    st.caption(f"{meaning(table, split)} {WHERE}")


def meaning(table: pd.DataFrame, split: str) -> str:
    """The caption: what the cells are, and how little a point may be. table: of `of_split`, of one run."""
    base = table[table.iteration == table.iteration.min()]
    examples, classes = base.examples[base.examples > 0], len(base)
    text = f"Points of {split} accuracy against the base: in each pair left after the cut, right after retraining. "
    text += "The strongest colour is the most that retraining left; a cut may take more. "
    if classes > charts.MOST:
        text += f"Of {classes:,} classes the {charts.MOST} that lost most. "
    if len(examples):
        least = int(examples.min())
        text += f"In a class of {least:,} images, one image is {100 / least:.2g} point{'s' * (least != 100)}."
    return text.strip()
