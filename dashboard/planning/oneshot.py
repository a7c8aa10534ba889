"""The accuracy of a plan before any retraining, beside its sizes. A fragment, which waits for a thread: it never keeps
anybody from editing."""

import streamlit as st

from dashboard import frame, work
from dashboard.charts.tables import counted
from dashboard.planning import opened
from trimcore.errors import TrimError
from trimcore.planning.preview import Stage

QUICK = 2.0  # seconds: what takes longer waits for a button
AWAITED = "…"


@st.fragment
def before_retraining(draft: dict, begin: opened.Begin, stages: list[Stage]) -> None:
    """`stages` are the plan carried out on paper."""
    iterations = len(stages) - 1
    if not iterations:
        return
    guess = _seconds(draft, begin, stages)
    if guess > QUICK and not st.button(
        f"Accuracy before retraining (about {work.in_words(guess)})", key="shot", icon=":material/bolt:",
    ):  # fmt: skip
        return
    place, pulse = st.empty(), st.empty()
    with place.container():
        _accuracies(None, iterations)
    try:
        shot = opened.shot(draft, begin, pulse.empty)
    except (TrimError, KeyError) as error:
        place.caption(frame.plain(f"The accuracy before retraining cannot be measured: {error}."))
        return
    with place.container():
        _accuracies(shot, shot.iterations)


def awaited(draft: dict, begin: opened.Begin, stages: list[Stage]) -> None:
    """What stands there until it is measured, so that nothing below moves under the mouse.

    It is drawn element for element as `before_retraining` draws, since only what has the same place is replaced; a
    fragment has a container of its own.
    """
    if len(stages) == 1:
        return
    if _seconds(draft, begin, stages) <= QUICK:
        with st.container(), st.empty().container():
            _accuracies(None, len(stages) - 1)
    else:
        st.container().button("Accuracy before retraining", icon=":material/bolt:", disabled=True, key="shot_awaited")


def _seconds(draft: dict, begin: opened.Begin, stages: list[Stage]) -> float:
    """A guess at what is still to be waited for."""
    if opened.is_known(draft, begin):
        return 0.0
    return opened.seconds(draft, begin, stages[0].cost, len(stages) - 1)


def _accuracies(shot: opened.Shot | None, iterations: int) -> None:
    """The numbers, or dots in their places."""
    count = f"the first {shot.examples}" if shot else "the first"
    told = f"Of {count} validation images, by real surgery. Retraining wins back much of what is lost."
    st.markdown("###### Accuracy before retraining")
    frame.metrics(
        ("Now", f"{shot.now:.1%}" if shot else AWAITED, f"Of {count} validation images."),
        ("After the first cut", f"{shot.first:.1%}" if shot else AWAITED, told),
        *([("All at once", f"{shot.whole:.1%}" if shot else AWAITED, f"{told} {counted(iterations, 'iteration')} "
            "together, by the scores as they are now; a run retrains and counts again after each.")]
          if iterations > 1 else []),
    )  # fmt: skip
