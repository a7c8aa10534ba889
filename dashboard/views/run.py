"""How is it going, and should I stop it?"""

import pandas as pd
import streamlit as st

from dashboard import broken, charts, ending, frame, live, pruned, store, work
from trimcore import control, published, runs, tables
from trimcore.errors import TrimError

run_id = frame.need_run()


def ask(action: str) -> None:
    work.attempt(control.ask, store.folder(), run_id, action)


@st.dialog("Stop this run?")
def confirm_stop() -> None:
    name = frame.plain(store.title(run_id))
    st.markdown(f"**{name}** stops at its next batch. What it finished is kept, and it can be resumed.")
    if st.button("Stop it", type="primary", icon=":material/stop:"):
        ask("stop")
        st.rerun()


st.caption(f"{frame.plain(store.title(run_id))}  ·  `{run_id}`")
status = store.status(run_id)
asked = status.values.get("asked") if status.active else ""
with st.container(horizontal=True, vertical_alignment="center"):
    if status.active:
        st.button("Pause", icon=":material/pause:", on_click=ask, args=("pause",), disabled=asked in ("pause", "stop"),
                  help="At the end of this epoch. Resume goes on from there.")  # fmt: skip
        st.button("Finish after this iteration", icon=":material/flag:", on_click=ask, args=("finish",),
                  disabled=asked in ("finish", "stop"))  # fmt: skip
        st.button("Stop…", icon=":material/stop:", on_click=confirm_stop, disabled=asked == "stop")
    elif status.state in control.RESUMABLE:
        st.button("Resume", type="primary", icon=":material/play_arrow:", on_click=work.attempt,
                  args=(control.resume, store.folder(), run_id))  # fmt: skip
active = live.watch(run_id, "run")
if not active:
    ending.box(store.status(run_id))


def reference() -> pd.DataFrame | None:
    """The paper's rows, where the run is of the same network on the same data."""
    try:
        asked = store.spec_of(run_id)
    except TrimError:
        return None
    rows = [(name, ratio, final / 100) for name, _, ratio, _, final in published.ON.get((asked.model, asked.data), [])]
    return pd.DataFrame(rows, columns=["label", "compression", "accuracy"]) if rows else None


def converted_to() -> str:
    """What the run converts its network to, if it does."""
    try:
        return {"maxout": "maxout"}.get(store.spec_of(run_id).convert.to, "ReLU")
    except TrimError:
        return "ReLU"


def base_row(events: list[dict]) -> pd.DataFrame:
    """The base model as the point before the first cut."""
    base = tables.latest(events, "iteration").get(0)
    rows = [{"iteration": 0, "label": "base", "accuracy_final": base["validation_accuracy"]}] if base else []
    return pd.DataFrame(rows, columns=["iteration", "label", "accuracy_initial", "accuracy_final"])


@st.fragment(run_every=2.0 if active else None)
def results() -> None:
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
        cuts = pd.concat([base_row(events), tables.cuts(events)])
        frame.chart(charts.accuracy_curve(trained, cuts, converted_to()), "accuracy")
        left, right = st.columns(2, gap="large")
        with left:
            st.markdown("##### Compression against accuracy")
            if iterations.empty:
                st.caption("One point for each finished iteration.")
            else:
                points, size = iterations.assign(run=store.title(run_id)), "compression"
                if tables.has_zero_weights(events):
                    points, size = pruned.without_zeros(points), pruned.NONZERO
                frame.chart(charts.frontier(points, reference(), size), "frontier")
                if reference() is not None:
                    st.caption("Grey: the paper's rows; accuracies as published, unverified.")
        with right:
            st.markdown("##### Training loss")
            frame.chart(charts.loss_curve(trained), "loss")
    layers = tables.history(events)
    if layers.iteration.nunique() > 1:
        left, right = st.columns(2, gap="large")
        with left:
            st.markdown("##### Mean APoZ of each layer")
            frame.chart(charts.apoz_history(layers), "apoz_history")
        with right:
            st.markdown("##### Width of each layer, against the start of the run")
            frame.chart(charts.width_history(layers), "width_history")
    pruned.history(events, iterations)
    broken.folded(events, run_id)
    pruned.verification(events, [0, runs.result_in(events)])
    if not iterations.empty:
        frame.paper_table(events)
    if made := tables.control_row(events):
        st.markdown(
            f":material/balance: **Control from new weights**, same widths, {made['epochs']} epochs: "
            f"test accuracy {made['accuracy']:.2%}."
        )
    for text in dict.fromkeys(event["text"] for event in events if event["kind"] == "note"):
        st.caption(frame.plain(text))
    with st.expander("Log", icon=":material/terminal:"):
        st.code(store.log_tail(run_id) or "Nothing yet.", language=None, height=300)


results()
if status.state == "finished":
    frame.next_step("Take the report", "report", "to_report")
