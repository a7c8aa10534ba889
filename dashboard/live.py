"""The state of a run on a page: a fragment on a timer, which stops when the run ends.

All of it is read from the run's folder, so that everybody who watches sees the same.
"""

from collections.abc import Callable

import streamlit as st

from dashboard import garbage, store, work
from dashboard.frame import plain
from trimcore.errors import RunError
from trimcore.jobs import control, queue
from trimcore.runs import Status

EVERY = 1.0  # seconds
SELDOM = 5.0  # ... of a run that has ended, but that somebody else may resume
UNKNOWN = "—"
DOING = {
    "base": "training the base network", "retrain": "retraining", "control": "training the control",
    "profile": "counting zeros", "convert": "training while it is converted",
    "relevance": "counting the maxima of units", "verify": "verifying",
}  # fmt: skip
ASKED = {
    "finish": "it finishes after this iteration", "pause": "it pauses at the end of this epoch",
    "stop": "it stops at its next batch",
}  # fmt: skip


def state_line(status: Status) -> str:
    """One line in words: what an active run is doing, and what it was asked for."""
    line = f"**{status.state.capitalize()}** — {_doing(status)}"
    asked = ASKED.get(status.values.get("asked"))
    return f"{line}; {asked}" if asked else line


def _doing(status: Status) -> str:
    v = status.values
    if status.state == "queued":
        return f"waiting for its turn on the device{_behind(status)}"
    if status.state == "starting" or "phase" not in v:
        return "loading PyTorch and the data, a few seconds"
    epoch = f", epoch {v['epoch']} of {v['epochs']}" if v.get("epochs") else ""
    return f"iteration {v.get('iteration', 0)} of {v.get('iterations', '?')}: {DOING.get(v['phase'], 'working')}{epoch}"


def _behind(status: Status) -> str:
    """Which runs go first, where that is known."""
    first = list(queue.before(store.folder() / status.run_id, status.values.get("device_key", "cpu")))
    if not first:
        return ""
    now = next((run_id for run_id in first if store.status(run_id).state != "queued"), first[-1])
    others = f" and {len(first) - 1} more" if len(first) > 1 else ""
    return f", behind **{plain(store.short_title(now))}**{others}"


def gigabytes(used: float, total: float) -> str:
    """`1.3 of 24 GB`."""
    used, total = used / 1e9, total / 1e9
    return f"{used:.1f} of {total:.0f} GB" if total >= 10 else f"{used:.1f} of {total:.1f} GB"


def left(seconds: float | None) -> str:
    """Time left, in steps of five seconds so that it can be read."""
    return work.in_words(seconds if not seconds or seconds < 20 else 5 * round(seconds / 5)) or UNKNOWN


def rate(images: float | None) -> str:
    """Images a second, to three digits."""
    if not images:
        return UNKNOWN
    return f"{float(f'{images:.3g}'):,.0f}" if images >= 10 else f"{images:.1f}"


def cells(values: dict) -> list[tuple[str, str]]:
    """What is told below the bars, label and value, from status.json. Old runs lack some of it."""
    this = values.get("iteration_eta_seconds")
    found = [
        ("Iteration: time left", "measuring" if this == 0 else left(this)),
        ("Run: time left", left(values.get("eta_seconds"))),
        ("Images a second", rate(values.get("images_per_second"))),
    ]
    memory = values.get("memory") or {}
    if "total" in memory:
        found.append(("Memory", gigabytes(memory["used"], memory["total"])))
    if "device_total" in memory:
        found.append(("GPU memory, peak", gigabytes(memory["device_used"], memory["device_total"])))
    return found


def progress(status: Status) -> None:
    """A bar for the run and one for this pass over the data; time left, rate, memory, device."""
    v = status.values
    st.progress(min(1.0, status.progress), text=f"Run {status.progress:.0%}")
    share = min(1.0, v.get("step", 0) / v["steps"]) if v.get("steps") else 0.0
    st.progress(share, text=f"This pass over the data {share:.0%}")
    with st.container(horizontal=True, gap="medium"):
        for label, value in cells(v):
            st.markdown(f":small[:gray[{label}]]  \n**{value}**", width=132)  # one element: it is drawn each second
    if v.get("device"):
        st.caption(f":material/developer_board: {plain(v['device'])}")


def show(status: Status) -> None:
    """An active run. A queued or starting one has no pace yet, and what an earlier process said is not shown."""
    with st.container(border=True, gap="small"):
        st.markdown(f"{store.MARKS[status.state]} {state_line(status)}")
        if status.stalled:
            st.warning("No sign of life for 30 s: the process lives but may hang. Stop it if this goes on.")
        if status.state not in ("queued", "starting"):
            progress(status)


def watch(run_id: str, key: str, below: Callable[[str], None] = lambda run_id: None) -> bool:
    """Show state and progress, live while the run is active, with what `below(run_id)` draws. Returns whether it is.

    The whole page is drawn anew when the run ends, is resumed, or is asked for something: in every browser.
    """
    shown = store.status(run_id)
    seldom = SELDOM if shown.state in control.RESUMABLE else None

    @st.fragment(run_every=EVERY if shown.active else seldom, key=f"watch_{key}")
    def panel() -> None:
        garbage.spare_what_stays("live panel")
        try:
            status = store.status(run_id)
        except RunError:
            st.rerun()  # it has been deleted: the frame says so
        if _stage(status) != _stage(shown):
            st.rerun()
        if status.active:
            show(status)
            below(run_id)  # in the same fragment: each that is called costs as much as what it draws

    panel()
    return shown.active


def _stage(status: Status) -> tuple:
    """What the rest of a page depends on."""
    return (True, status.values.get("asked")) if status.active else (False, status.state)
