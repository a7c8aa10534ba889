"""What a run has come to so far, for its page: curves, sizes, tables, notes and log.

It is drawn once for all who watch, and again when something new is recorded: what Streamlit replays costs a hundredth.
"""

import pandas as pd
import streamlit as st

from dashboard import broken, charts, frame, pruned, store
from trimcore import runs, tables
from trimcore.errors import TrimError
from trimcore.tables import published


def show(run_id: str) -> None:
    """All of it; part of a fragment on a timer while the run is active."""
    state = (store.version(run_id), store.title(run_id))
    _curves(run_id, state)
    if _has_classes(run_id, state):
        broken.folded(store.events(run_id), run_id)  # it can be opened, and so it cannot be replayed
    _tables(run_id, state)
    with st.expander("Log", icon=":material/terminal:"):
        st.code(store.log_tail(run_id) or "Nothing yet.", language=None, height=300)


@st.cache_data(max_entries=16, show_spinner=False)
def _curves(run_id: str, state: tuple) -> None:
    """`state` tells what there is to draw from anything before it."""
    events = store.events(run_id)
    epochs, iterations = tables.epochs(events), tables.iterations(events)
    if not iterations.empty:
        last = iterations[iterations.iteration == runs.result_in(events)].iloc[0]
        frame.metrics(
            ("Compression", f"{last.compression:.2f}×"),
            ("Parameters", f"{last.parameters:,}"),
            ("Test accuracy", f"{last.accuracy_final:.2%}"),
            ("MACs", frame.fewer(last.macs_ratio)),
            *pruned.metrics(events, last),
        )
    trained = epochs[epochs.phase != "control"].assign(accuracy=epochs.validation_accuracy)
    if trained.empty:
        st.caption("Curves appear after the first epoch.")
    else:
        frame.idea("run", "Validation accuracy: does it recover after each cut?")
        cuts = pd.concat([_base_row(events), tables.cuts(events)])
        frame.chart(charts.accuracy_curve(trained, cuts, _converted_to(run_id)), "accuracy", run_id)
        left, right = st.columns(2, gap="large")
        with left:
            _frontier(run_id, events, iterations)
        with right:
            st.markdown("##### Training loss")
            frame.chart(charts.loss_curve(trained), "loss", run_id)
    layers = tables.history(events)
    if layers.iteration.nunique() > 1:
        left, right = st.columns(2, gap="large")
        with left:
            st.markdown("##### Mean APoZ of each layer")
            frame.chart(charts.apoz_history(layers), "apoz_history", run_id)
        with right:
            st.markdown("##### Width of each layer, against the start of the run")
            frame.chart(charts.width_history(layers), "width_history", run_id)
    pruned.history(events, iterations)


@st.cache_data(max_entries=16, show_spinner=False)
def _tables(run_id: str, state: tuple) -> None:
    events = store.events(run_id)
    pruned.verification(events, [0, runs.result_in(events)])
    if tables.latest(events, "iteration"):
        frame.paper_table(events)
    if made := tables.control_row(events):
        st.markdown(
            f":material/balance: **Control from new weights**, same widths, {made['epochs']} epochs: "
            f"test accuracy {made['accuracy']:.2%}."
        )
    for text in dict.fromkeys(event["text"] for event in events if event["kind"] == "note"):
        st.caption(frame.plain(text))


@st.cache_data(max_entries=64, show_spinner=False)
def _has_classes(run_id: str, state: tuple) -> bool:
    return len(broken.of_split(store.events(run_id), "validation")) > 0


def _frontier(run_id: str, events: list[dict], iterations: pd.DataFrame) -> None:
    st.markdown("##### Compression against accuracy")
    if iterations.empty:
        st.caption("One point for each finished iteration.")
        return
    points, size = iterations.assign(run=store.title(run_id)), "compression"
    if tables.has_zero_weights(events):
        points, size = pruned.without_zeros(points), pruned.NONZERO
    paper = _reference(run_id)
    frame.chart(charts.frontier(points, paper, size), "frontier", run_id)
    if paper is not None:
        st.caption("Grey: the paper's rows; accuracies as published, unverified.")


def _reference(run_id: str) -> pd.DataFrame | None:
    """The paper's rows, where the run is of the same network on the same data."""
    try:
        asked = store.spec_of(run_id)
    except TrimError:
        return None
    rows = [(name, ratio, final / 100) for name, _, ratio, _, final in published.ON.get((asked.model, asked.data), [])]
    return pd.DataFrame(rows, columns=["label", "compression", "accuracy"]) if rows else None


def _converted_to(run_id: str) -> str:
    """What the run converts its network to, if it does."""
    try:
        return {"maxout": "maxout"}.get(store.spec_of(run_id).convert.to, "ReLU")
    except TrimError:
        return "ReLU"


def _base_row(events: list[dict]) -> pd.DataFrame:
    """The base model as the point before the first cut."""
    base = tables.latest(events, "iteration").get(0)
    rows = [{"iteration": 0, "label": "base", "accuracy_final": base["validation_accuracy"]}] if base else []
    return pd.DataFrame(rows, columns=["iteration", "label", "accuracy_initial", "accuracy_final"])
