"""The accuracy of a plan before any retraining, beside its sizes. A fragment: it never keeps anybody from editing."""

import streamlit as st

from dashboard import frame, work
from dashboard.charts.tables import counted
from dashboard.planning import opened
from trimcore.errors import TrimError
from trimcore.preview import Stage

QUICK = 2.0  # seconds: what takes longer waits for a button
HELP = "Of the first {} validation images, by real surgery. Retraining wins back much of what is lost."


@st.fragment
def before_retraining(draft: dict, begin: opened.Begin, stages: list[Stage]) -> None:
    """`stages` are the plan carried out on paper."""
    if len(stages) == 1:
        return
    guess = opened.seconds(draft, begin, stages[0].cost, len(stages) - 1)
    known = opened.is_known(draft, begin)
    if not known and guess > QUICK and not st.button(
        f"Accuracy before retraining (about {work.in_words(guess)})", key="shot", icon=":material/bolt:",
    ):  # fmt: skip
        return
    try:
        with st.spinner("Cutting a copy…", show_time=guess > QUICK):
            shot = opened.shot(draft, begin)
    except (TrimError, KeyError) as error:
        st.caption(frame.plain(f"The accuracy before retraining cannot be measured: {error}."))
        return
    told = HELP.format(shot.examples)
    st.markdown("###### Accuracy before retraining")
    frame.metrics(
        ("Now", f"{shot.now:.1%}", f"Of the first {shot.examples} validation images."),
        ("After the first cut", f"{shot.first:.1%}", told),
        *([("All at once", f"{shot.whole:.1%}", f"{told} {counted(shot.iterations, 'iteration')} "
            "together, by the scores as they are now; a run retrains and counts again after each.")]
          if shot.iterations > 1 else []),
    )  # fmt: skip
