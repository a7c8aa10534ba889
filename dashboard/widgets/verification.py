"""The verification results of a run: do two images show the same person or class?"""

from typing import Any

import streamlit as st

from dashboard import charts, glossary
from dashboard.text import plain
from dashboard.widgets import elements
from trimcore import tables


def verification(events: list[dict[str, Any]], iterations: list[int]) -> None:
    """Accuracy by iteration, and the ROC curves of some iterations."""
    found, curves = tables.verifications(events), tables.rocs(events)
    if found.empty:
        return
    last = found.iloc[-1]
    source = "the test split" if last.pairs == "test" else last.pairs
    st.markdown("##### Verification: do two images match?", help=glossary.bullets("verification", "AUC"))
    st.caption(plain(
        f"{last['count']:,} pairs from {source}, compared by the {last.distance} distance of the inputs of "
        f"{last.layer}; ten folds."
    ))  # fmt: skip
    left, right = st.columns(2, gap="large")
    with left:
        elements.chart(charts.verification_history(found), "verification_history")
    chosen = curves[curves.iteration.isin(iterations)]
    if len(chosen):
        names = chosen.iteration.map(lambda k: "base" if k == 0 else f"iteration {k}")
        with right:
            elements.chart(charts.roc(chosen.assign(curve=names)), "roc")
