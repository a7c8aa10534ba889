"""Corrupted images and calibration, a part of What changed? on the page Report. Measured on request."""

import pandas as pd
import streamlit as st

from dashboard.report.pair import Pair
from dashboard.text import duration
from dashboard.widgets import elements
from trimcore.evaluation import corruptions
from trimcore.evaluation.calibration import BINS
from trimcore.tables.csv_text import as_csv

ROUNDS = len(corruptions.VARIANTS)
NUMBERS = [column for column in corruptions.COLUMNS if column != "corruption"]


def section(pair: Pair) -> None:
    """The tables, or a button that measures them."""
    st.markdown("###### Does it hold on worse images, and does it know when it is wrong?")
    examples = pair.examples(ROUNDS)
    kept = pair.kept("corruptions", examples, _valid)
    table = kept.find()
    if table is None:
        seconds = 1 + examples * pair.seconds_per_image * ROUNDS
        pressed = st.button(f"Measure (about {duration(seconds)})", icon=":material/blur_on:", key="measure_corruptions",
                            help=f"Accuracy on {examples:,} {pair.split_name} images with noise, blur and less "
                            "contrast, and how well confidence fits accuracy.")  # fmt: skip
        if not pressed:
            return
        with st.spinner("Measuring on corrupted images…", show_time=True):
            split = pair.split.subset(examples)
            table = kept.find_or_measure(lambda: corruptions.measure(*pair.networks, split, pair.data, "cpu"))
    _show(table, pair)


def _show(table: pd.DataFrame, pair: Pair) -> None:
    left, right = st.columns([3, 2], gap="large")
    with left:
        shown = table[["corruption", "strength", "base_accuracy", "trimmed_accuracy"]].rename(
            columns={"base_accuracy": "base", "trimmed_accuracy": "trimmed"}
        )
        shown["change, points"] = 100 * (shown.trimmed - shown.base)
        shown["strength"] = shown.strength.map(lambda share: f"{100 * share:g} %" if share else "")
        share = st.column_config.NumberColumn(format="percent", help="Accuracy under this corruption.")
        st.dataframe(
            shown, hide_index=True, key="corruptions", height=38 + 35 * len(shown), alt="Accuracy on corrupted images",
            column_config=elements.with_help(shown, {
                "base": share, "trimmed": share, "change, points": st.column_config.NumberColumn(format="%+.1f"),
            }),
        )  # fmt: skip
    with right:
        clean = table.iloc[0]
        fit = pd.DataFrame({
            "network": ["base", "trimmed"],
            "accuracy": [clean.base_accuracy, clean.trimmed_accuracy],
            "mean confidence": [clean.base_confidence, clean.trimmed_confidence],
            "calibration error": [clean.base_calibration_error, clean.trimmed_calibration_error],
        })  # fmt: skip
        percent = st.column_config.NumberColumn(format="percent")
        st.dataframe(
            fit, hide_index=True, key="calibration", alt="Accuracy, mean confidence and calibration error",
            column_config=elements.with_help(fit, dict.fromkeys(list(fit)[1:], percent)),
        )  # fmt: skip
        st.caption(f"On {int(clean.examples):,} {pair.split_name} images; calibration in {BINS} bins, on images without "
                   "a corruption.")  # fmt: skip
        st.download_button("corruptions.csv", lambda: as_csv(table), "corruptions.csv", "text/csv", on_click="ignore",
                           key="corruptions_csv", icon=":material/download:")  # fmt: skip


def _valid(table: pd.DataFrame) -> bool:
    rows = list(zip(table.corruption, table.strength, strict=True))
    numbers = table[NUMBERS].apply(pd.to_numeric)
    return list(table.columns) == corruptions.COLUMNS and rows == corruptions.VARIANTS and bool((numbers >= 0).all().all())
