"""The state of a run on a page: a fragment on a timer, which stops when the run ends.

Everything is read from the run's folder, so all viewers see the same.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard.session import memory, queue_reader, run_reader, viewers
from dashboard.text import duration, plain
from trimcore.errors import RunError
from trimcore.jobs import awaited, control, queue
from trimcore.runs import Status

IDLE_EVERY = 5.0  # seconds, after the run has ended, because another user may resume it
UNKNOWN = "—"
PHASES = {
    "base": "training the base network", "retrain": "retraining", "control": "training the control",
    "profile": "counting zeros", "convert": "converting activations",
    "relevance": "counting maxima of units", "verify": "verifying",
}  # fmt: skip
REQUESTS = {
    "finish": "finishes after this iteration", "pause": "pauses after this epoch", "stop": "stops at the next batch",
}  # fmt: skip


def state_line(status: Status) -> str:
    """One line of text: what an active run is doing, and what it was asked to do."""
    line = f"**{status.state.capitalize()}**: {_activity(status)}"
    asked = REQUESTS.get(status.values.get("asked", ""))
    return f"{line}; {asked}" if asked else line


def _activity(status: Status) -> str:
    v = status.values
    if status.state == "queued":
        if parent := awaited.waits(run_reader.folder(), v):
            return f"waiting for the base network of **{plain(run_reader.short_title(parent))}**"
        return f"waiting for the device{_behind(status)}"
    if status.state == "starting" or "phase" not in v:
        return "loading PyTorch and the data, which takes a few seconds"
    epoch = f", epoch {v['epoch']} of {v['epochs']}" if v.get("epochs") else ""
    phase = PHASES.get(v["phase"], "working")
    return f"iteration {v.get('iteration', 0)} of {v.get('iterations', '?')}, {phase}{epoch}"


def _behind(status: Status) -> str:
    """The runs that go first, if there are any."""
    entries = queue_reader.read().entries
    mine = next((entry for entry in entries if entry.run_id == status.run_id), None)
    if mine is None:
        return ""
    if mine.state == "held":
        return "; it is held until somebody releases it on **Queue**"
    working = [entry for entry in entries if not entry.waits and entry.shares_device(mine)]
    first = [entry.run_id for entry in (*working, *queue.ahead(mine, entries))]
    others = f" and {len(first) - 1} more" if len(first) > 1 else ""
    return f", behind **{plain(run_reader.short_title(first[0]))}**{others}" if first else ""


def gigabytes(used: float, total: float) -> str:
    """`1.3 of 24 GB`."""
    used, total = used / 1e9, total / 1e9
    return f"{used:.1f} of {total:.0f} GB" if total >= 10 else f"{used:.1f} of {total:.1f} GB"


def time_left(seconds: float | None) -> str:
    """The remaining time, in steps of five seconds so that it stays readable."""
    return duration(seconds if not seconds or seconds < 20 else 5 * round(seconds / 5)) or UNKNOWN


def rate(images: float | None) -> str:
    """Images per second, with three significant digits."""
    if not images:
        return UNKNOWN
    return f"{float(f'{images:.3g}'):,.0f}" if images >= 10 else f"{images:.1f}"


def readings(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The labels and values below the bars, from status.json. Old runs lack some of them."""
    this = values.get("iteration_eta_seconds")
    found = [
        ("Iteration: time left", "measuring" if this == 0 else time_left(this)),
        ("Run: time left", time_left(values.get("eta_seconds"))),
        ("Images per second", rate(values.get("images_per_second"))),
    ]
    load = values.get("load") or {}
    if "machine" in load:
        found.append(("Processor load", f"{load['machine']:.0%}"))
    if "device" in load:
        found.append(("GPU load", f"{load['device']:.0%}"))
    memory = values.get("memory") or {}
    if "total" in memory:
        found.append(("Memory", gigabytes(memory["used"], memory["total"])))
    if "device_total" in memory:
        found.append(("GPU memory, peak", gigabytes(memory["device_used"], memory["device_total"])))
    return found


def progress(status: Status) -> None:
    """Bars for the run and for this pass over the data, and below them time left, rate, memory and device."""
    v = status.values
    st.progress(min(1.0, status.progress), text=f"Run {status.progress:.0%}")
    share = min(1.0, v.get("step", 0) / v["steps"]) if v.get("steps") else 0.0
    st.progress(share, text=f"This pass over the data {share:.0%}")
    with st.container(horizontal=True, gap="medium"):
        for label, value in readings(v):
            st.markdown(f":small[:gray[{label}]]  \n**{value}**", width=132)  # one element, drawn every second
    if v.get("device"):
        st.caption(f":material/developer_board: {plain(v['device'])}")


def show(status: Status) -> None:
    """The state of an active run. A queued or starting run has no progress yet, so values of an earlier process are not
    shown."""
    with st.container(border=True, gap="small"):
        st.markdown(f"{run_reader.STATE_ICONS[status.state]} {state_line(status)}")
        if status.stalled:
            st.warning("The run has not responded for 30 s. Its process is alive but may be stuck. Stop the run if it "
                       "does not recover.")  # fmt: skip
        if status.state not in ("queued", "starting"):
            progress(status)


def watch(run_id: str, key: str, below: Callable[[str], None] = lambda run_id: None) -> bool:
    """Show state and progress, live while the run is active, followed by what `below(run_id)` draws. Returns whether
    the run is active.

    The whole page is rerun in every browser when the run ends, is resumed, or receives a request.
    """
    shown = run_reader.status(run_id)
    idle = IDLE_EVERY if shown.state in control.RESUMABLE else None

    @st.fragment(run_every=viewers.interval() if shown.active else idle, key=f"watch_{key}")
    def panel() -> None:
        viewers.note()
        memory.freeze_long_lived("live panel")
        try:
            status = run_reader.status(run_id)
        except RunError:
            st.rerun()  # the run has been deleted; the page says so
        if _page_state(status) != _page_state(shown):
            st.rerun()
        if status.active:
            show(status)
            below(run_id)  # in the same fragment, because each fragment has a cost of its own

    panel()
    return shown.active


def _page_state(status: Status) -> tuple[Any, ...]:
    """The part of the status that the rest of the page depends on."""
    return (True, status.values.get("asked")) if status.active else (False, status.state)
