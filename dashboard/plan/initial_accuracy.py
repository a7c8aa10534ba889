"""The accuracy of a plan before any retraining: a fragment that waits for a thread, so that it never blocks editing."""

import streamlit as st

from dashboard.charts.tables import counted
from dashboard.plan import rehearsal
from dashboard.plan.origin import StartPoint
from dashboard.text import duration, plain
from dashboard.widgets import elements
from trimcore.errors import TrimError
from trimcore.planning.preview import Stage

QUICK = 2.0  # seconds; longer measurements wait for a button
PLACEHOLDER = "…"


@st.fragment
def before_retraining(draft: dict, start: StartPoint, stages: list[Stage]) -> None:
    """`stages` are the previewed iterations of the plan."""
    iterations = len(stages) - 1
    if not iterations:
        return
    estimate = _seconds(draft, start, stages)
    if estimate > QUICK and not st.button(
        f"Measure accuracy before retraining (about {duration(estimate)})", key="shot", icon=":material/bolt:",
    ):  # fmt: skip
        return
    place, heartbeat = st.empty(), st.empty()
    with place.container():
        _accuracies(None, iterations)
    try:
        found = rehearsal.rehearse(draft, start, heartbeat.empty)
    except (TrimError, KeyError) as error:
        place.caption(plain(f"The accuracy before retraining cannot be measured: {error}."))
        return
    with place.container():
        _accuracies(found, found.iterations)


def placeholder(draft: dict, start: StartPoint, stages: list[Stage]) -> None:
    """The placeholder until the accuracies are measured, so that nothing below moves.

    It has the same elements as `before_retraining`, because Streamlit replaces only elements at the same place. A
    fragment has a container of its own.
    """
    if len(stages) == 1:
        return
    if _seconds(draft, start, stages) <= QUICK:
        with st.container(), st.empty().container():
            _accuracies(None, len(stages) - 1)
    else:
        st.container().button("Measure accuracy before retraining", icon=":material/bolt:", disabled=True,
                              key="shot_awaited")  # fmt: skip


def _seconds(draft: dict, start: StartPoint, stages: list[Stage]) -> float:
    """An estimate of the remaining measuring time."""
    if rehearsal.is_known(draft, start):
        return 0.0
    return rehearsal.seconds(draft, start, stages[0].cost, len(stages) - 1)


def _accuracies(found: rehearsal.Rehearsal | None, iterations: int) -> None:
    """The accuracies, or placeholders for them."""
    images = f"the first {found.examples} validation images" if found else "the first validation images"
    text = f"Measured on {images} with the network actually cut. Retraining recovers much of the loss."
    st.markdown("###### Accuracy before retraining")
    elements.metrics(
        ("Now", f"{found.now:.1%}" if found else PLACEHOLDER, f"Measured on {images}."),
        ("After the first cut", f"{found.first:.1%}" if found else PLACEHOLDER, text),
        *([("After all cuts", f"{found.all_at_once:.1%}" if found else PLACEHOLDER,
            f"{text} The {counted(iterations, 'iteration')} are applied at once, with the current scores. A run "
            "retrains and counts again after each iteration.")]
          if iterations > 1 else []),
    )  # fmt: skip
