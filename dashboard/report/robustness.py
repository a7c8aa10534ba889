"""Corrupted images and calibration, a part of What changed? on the page Report. Measured on request."""

import pandas as pd
import streamlit as st

from dashboard.report.pair import Pair
from dashboard.text import duration
from dashboard.widgets import elements
from trimcore.evaluation import corruptions
from trimcore.tables.csv_text import as_csv

ROUNDS = len(corruptions.VARIANTS)
LABELS = ("Accuracy", "Mean confidence", "Calibration error")  # of corruptions.MEASURES
NUMBERS = [column for column in corruptions.COLUMNS if column != "corruption"]


def section(pair: Pair, labelled: bool) -> None:
    """The numbers, or a button that measures them. Without labels, the base's answers are taken for right."""
    also = ", and does it know when it is wrong" if labelled else ""
    st.markdown(f"###### Does it hold on worse images{also}?")
    examples = pair.examples(ROUNDS)
    kept = pair.kept("corruptions", examples, _valid)
    table = kept.find()
    if table is None:
        seconds = 1 + examples * pair.seconds_per_image * ROUNDS
        pressed = st.button(
            f"Measure (about {duration(seconds)})", key="measure_corruptions", icon=":material/blur_on:",
            help=f"Accuracy on {examples:,} {pair.split_name} images with noise, blur and less contrast, and how well "
            "confidence fits accuracy.",
        )  # fmt: skip
        if not pressed:
            return
        with st.spinner("Measuring on corrupted images…", show_time=True):
            split = pair.split.subset(examples)
            table = kept.find_or_measure(lambda: corruptions.measure(*pair.networks, split, pair.data, "cpu"))
    _show(table, pair, labelled)


def _show(table: pd.DataFrame, pair: Pair, labelled: bool) -> None:
    clean = table.iloc[0]
    if labelled:
        elements.metrics(*[
            (label, f"{clean[f'base_{name}']:.1%} → {clean[f'trimmed_{name}']:.1%}", "The base → the trimmed network.")
            for label, name in zip(LABELS, corruptions.MEASURES, strict=True)
        ])  # fmt: skip
    shown = table[["corruption", "strength"]].assign(
        base=100 * table.base_accuracy, trimmed=100 * table.trimmed_accuracy,
        change=(100 * (table.trimmed_accuracy - table.base_accuracy)).round(1) + 0.0,  # -0.0 becomes 0.0
    ).rename(columns={"change": "change, points"})  # fmt: skip
    shown["strength"] = shown.strength.map(lambda share: f"{100 * share:g} %" if share else "")
    share = st.column_config.NumberColumn(format="%.1f %%", help="Its accuracy on these images.")
    points = st.column_config.NumberColumn(format="%+.1f")
    st.dataframe(
        shown, hide_index=True, key="corruptions", height=38 + 35 * len(shown), alt="Accuracy on corrupted images",
        column_config=elements.with_help(shown, {"base": share, "trimmed": share, "change, points": points}),
    )  # fmt: skip
    st.caption(f"On {int(clean.examples):,} {pair.split_name} images. Both networks see the same corrupted images."
               + ("" if labelled else " Without labels, the base's answers to the images as they are count as right."))
    st.download_button("corruptions.csv", lambda: as_csv(table), "corruptions.csv", "text/csv", on_click="ignore",
                       key="corruptions_csv", icon=":material/download:")  # fmt: skip


def _valid(table: pd.DataFrame) -> bool:
    if list(table.columns) != corruptions.COLUMNS:
        return False
    rows = list(zip(table.corruption, table.strength, strict=True))
    return rows == corruptions.VARIANTS and bool((table[NUMBERS].apply(pd.to_numeric) >= 0).all().all())
