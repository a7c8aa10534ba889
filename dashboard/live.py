"""The state of a run on a page: a fragment on a timer, which stops when the run ends."""

import streamlit as st

from dashboard import store, work
from dashboard.frame import plain
from trimcore.runs import Status

EVERY = 1.0  # seconds


def state_line(status: Status) -> str:
    """One line in words: what the run is doing, or how it ended."""
    v = status.values
    if not status.active:
        return f"**{status.state}** — {plain(status.reason)}" if status.reason else f"**{status.state}**"
    if status.state == "queued":
        return "**queued** — waiting for its turn on the device"
    if status.state == "starting" and "phase" not in v:
        return "**starting** — loading PyTorch and the data, a few seconds"
    what = {"base": "training the base network", "retrain": "retraining", "control": "training the control",
            "profile": "counting zeros", "convert": "training while it is converted",
            "relevance": "counting the maxima of units", "verify": "verifying"}  # fmt: skip
    doing = what.get(v.get("phase"), "working")
    place = f"iteration {v.get('iteration', 0)} of {v.get('iterations', '?')}"
    epoch = f", epoch {v['epoch']} of {v['epochs']}" if v.get("epochs") else ""
    asked = "; it finishes after this iteration" if status.values.get("asked") == "finish" else ""
    return f"**{status.state}** — {place}: {doing}{epoch}{asked}"


def progress(status: Status) -> None:
    """Bars for the run and for the epoch, with rate and time left."""
    v = status.values
    eta = work.in_words(v.get("eta_seconds"))
    rate = f"{v['images_per_second']:,.0f} images/s" if v.get("images_per_second") else ""
    st.progress(
        min(1.0, status.progress), text=" · ".join(filter(None, [f"run {status.progress:.0%}", eta and f"{eta} left"]))
    )
    if v.get("steps"):
        st.progress(v.get("step", 0) / v["steps"], text=" · ".join(filter(None, ["this pass over the data", rate])))
    if status.stalled:
        st.warning("No sign of life for 30 s: the process lives but may hang. Stop it if this goes on.")


def watch(run_id: str, key: str) -> bool:
    """Show state and progress, live while the run is active. Returns whether it is."""
    active = store.status(run_id).active

    @st.fragment(run_every=EVERY if active else None, key=f"watch_{key}")
    def panel() -> None:
        status = store.status(run_id)
        mark = store.MARKS[status.state]
        if status.state in ("failed", "lost"):
            st.error(state_line(status), icon=mark)
        else:
            st.markdown(f"{mark} {state_line(status)}")
        if status.active:
            progress(status)
        elif active:
            st.rerun()  # it has just ended: show the whole page in its final state

    panel()
    return active
