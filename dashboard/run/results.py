"""The results of a run so far, for its page: curves, sizes, tables, notes and the log.

They are drawn once for all viewers, and again when something new is recorded. Replaying a cached element takes about
1 % of the time of drawing it.
"""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.run import outlook
from dashboard.run.pruning_history import history
from dashboard.session import headline, run_reader
from dashboard.text import macs_text, plain
from dashboard.widgets import class_history, elements, sizes
from dashboard.widgets.paper_table import paper_table
from dashboard.widgets.verification import verification
from trimcore import runs, tables
from trimcore.errors import TrimError
from trimcore.tables import Metric, published


def show(run_id: str) -> None:
    """All results. They are part of a fragment on a timer while the run is active."""
    state = (run_reader.version(run_id), run_reader.title(run_id))
    if run_reader.status(run_id).active:
        outlook.show(run_id, state)
    _curves(run_id, state)
    if _has_classes(run_id, state):
        class_history.expander(run_reader.events(run_id), run_id)  # not replayed, because the user can expand it
    _tables(run_id, state)
    with st.expander("Log", icon=":material/terminal:"):
        st.code(run_reader.log_tail(run_id) or "Nothing yet.", language=None, height=300)


@st.cache_data(max_entries=16, show_spinner=False)
def _curves(run_id: str, state: tuple[Any, ...]) -> None:
    """`state` identifies the recorded events, for the cache."""
    events = run_reader.events(run_id)
    epochs, iterations, metric = tables.epochs(events), tables.iterations(events), tables.metric_of(events)
    if not iterations.empty:
        last = iterations[iterations.iteration == runs.result_in(events)].iloc[0]
        elements.metrics(
            ("Compression", f"{last.compression:.2f}×"),
            ("Parameters", f"{last.parameters:,}"),
            (f"Test {plain(metric.name)}", metric.text(last.metric_final), headline.direction(metric)),
            ("MACs", macs_text(last.macs_ratio)),
            *sizes.metrics(events, last),
        )
    trained = epochs[epochs.phase != "control"].assign(metric=epochs.validation_metric)
    if trained.empty:
        st.caption("Curves appear after the first epoch.")
    else:
        elements.concept("run", f"Validation {plain(metric.name)} by epoch")
        cuts = pd.concat([_base_row(events), tables.cuts(events)])
        elements.chart(charts.accuracy_curve(trained, cuts, _converted_to(run_id), metric=metric), "accuracy", run_id)
        left, right = st.columns(2, gap="large")
        with left:
            _frontier(run_id, events, iterations, metric)
        with right:
            st.markdown("##### Training loss")
            elements.chart(charts.loss_curve(trained), "loss", run_id)
    layers = tables.history(events)
    if layers.iteration.nunique() > 1:
        left, right = st.columns(2, gap="large")
        with left:
            st.markdown("##### Mean APoZ by layer")
            elements.chart(charts.apoz_history(layers), "apoz_history", run_id)
        with right:
            st.markdown("##### Width by layer, relative to the start")
            elements.chart(charts.width_history(layers), "width_history", run_id)
    history(events, iterations)


@st.cache_data(max_entries=16, show_spinner=False)
def _tables(run_id: str, state: tuple[Any, ...]) -> None:
    events = run_reader.events(run_id)
    verification(events, [0, runs.result_in(events)])
    if tables.latest(events, "iteration"):
        paper_table(events)
    if made := tables.control_row(events):
        st.markdown(
            f":material/balance: **Control:** a network with the same widths, trained from scratch for "
            f"{made['epochs']} epochs, has a test {_control_text(events, made)}."
        )
    for text in dict.fromkeys(event["text"] for event in events if event["kind"] == "note"):
        st.caption(plain(text))


@st.cache_data(max_entries=64, show_spinner=False)
def _has_classes(run_id: str, state: tuple[Any, ...]) -> bool:
    return len(class_history.of_split(run_reader.events(run_id), "validation")) > 0


def _control_text(events: list[dict[str, Any]], made: dict[str, Any]) -> str:
    metric = tables.metric_of(events)
    return f"{plain(metric.name)} of {metric.text(tables.value_of(made, 'accuracy'))}"


def _frontier(run_id: str, events: list[dict[str, Any]], iterations: pd.DataFrame, metric: Metric) -> None:
    st.markdown(f"##### Test {plain(metric.name)} by compression")
    if iterations.empty:
        st.caption("The first point appears after the first iteration.")
        return
    points, size = iterations.assign(run=run_reader.title(run_id)), "compression"
    if tables.has_zero_weights(events):
        points, size = sizes.with_nonzero_compression(points), sizes.NONZERO
    paper = _reference(run_id) if metric.is_accuracy else None
    elements.chart(charts.frontier(points, paper, size, metric=metric), "frontier", run_id)
    if paper is not None:
        st.caption("Grey: results from the paper, as published and not verified.")


def _reference(run_id: str) -> pd.DataFrame | None:
    """The paper's rows, if the run has the same network and data."""
    try:
        asked = run_reader.spec_of(run_id)
    except TrimError:
        return None
    rows = [(name, ratio, final / 100) for name, _, ratio, _, final in published.ON.get((asked.model, asked.data), [])]
    return pd.DataFrame(rows, columns=["label", "compression", "metric"]) if rows else None


def _converted_to(run_id: str) -> str:
    """The target of the run's conversion, as a label."""
    try:
        return {"maxout": "maxout"}.get(run_reader.spec_of(run_id).convert.to, "ReLU")
    except TrimError:
        return "ReLU"


def _base_row(events: list[dict[str, Any]]) -> pd.DataFrame:
    """The base network as the point before the first cut."""
    base = tables.latest(events, "iteration").get(0)
    value = tables.value_of(base or {}, "validation_accuracy")
    rows = [{"iteration": 0, "label": "base", "metric_final": value}] if base else []
    return pd.DataFrame(rows, columns=["iteration", "label", "metric_initial", "metric_final"])
