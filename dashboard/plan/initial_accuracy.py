"""What a plan leaves of the headline metric before any retraining: a fragment that waits for a thread, so that it never
blocks editing."""

from typing import Any

import streamlit as st

from dashboard.charts.tables import counted
from dashboard.plan import rehearsal
from dashboard.plan.origin import StartPoint
from dashboard.session import headline, run_reader
from dashboard.text import duration, plain
from dashboard.widgets import elements
from trimcore import tables
from trimcore.errors import TrimError
from trimcore.planning.preview import Stage
from trimcore.tables import Metric

QUICK = 2.0  # seconds; longer measurements wait for a button
PLACEHOLDER = "…"


@st.fragment
def before_retraining(draft: dict[str, Any], start: StartPoint, stages: list[Stage]) -> None:
    """`stages` are the previewed iterations of the plan."""
    iterations = len(stages) - 1
    if not iterations:
        return
    estimate = _seconds(draft, start, stages)
    if estimate > QUICK and not st.button(
        f"Measure {_name(start)} before retraining (about {duration(estimate)})", key="shot", icon=":material/bolt:",
    ):  # fmt: skip
        return
    place, heartbeat = st.empty(), st.empty()
    with place.container():
        _values(None, iterations, start)
    try:
        found = rehearsal.rehearse(draft, start, heartbeat.empty)
    except (TrimError, KeyError) as error:
        place.caption(plain(f"The {_metric(start).name} before retraining cannot be measured: {error}."))
        return
    with place.container():
        _values(found, found.iterations, start)


def placeholder(draft: dict[str, Any], start: StartPoint, stages: list[Stage]) -> None:
    """The placeholder until the values are measured, so that nothing below moves.

    It has the same elements as `before_retraining`, because Streamlit replaces only elements at the same place. A
    fragment has a container of its own.
    """
    if len(stages) == 1:
        return
    if _seconds(draft, start, stages) <= QUICK:
        with st.container(), st.empty().container():
            _values(None, len(stages) - 1, start)
    else:
        st.container().button(f"Measure {_name(start)} before retraining", icon=":material/bolt:", disabled=True,
                              key="shot_awaited")  # fmt: skip


def _seconds(draft: dict[str, Any], start: StartPoint, stages: list[Stage]) -> float:
    """An estimate of the remaining measuring time."""
    if rehearsal.is_known(draft, start):
        return 0.0
    return rehearsal.seconds(draft, start, stages[0].cost, len(stages) - 1)


def _metric(start: StartPoint) -> Metric:
    return tables.metric_of(run_reader.events(start[0]))


def _name(start: StartPoint) -> str:
    return plain(_metric(start).name)


def _values(found: rehearsal.Rehearsal | None, iterations: int, start: StartPoint) -> None:
    """The values, or placeholders for them."""
    metric = _metric(start)
    noun = "images" if metric.is_accuracy else "examples"
    images = f"the first {found.examples} validation {noun}" if found else f"the first validation {noun}"
    text = f"Measured on {images} with the network actually cut. Retraining recovers much of the loss."
    st.markdown(f"###### {plain(metric.title)} before retraining", help=headline.direction(metric) or None)
    elements.metrics(
        ("Now", metric.text(found.now, 1) if found else PLACEHOLDER, f"Measured on {images}."),
        ("After the first cut", metric.text(found.first, 1) if found else PLACEHOLDER, text),
        *([("After all cuts", metric.text(found.all_at_once, 1) if found else PLACEHOLDER,
            f"{text} The {counted(iterations, 'iteration')} are applied at once, with the current scores. A run "
            "retrains and counts again after each iteration.")]
          if iterations > 1 else []),
    )  # fmt: skip
