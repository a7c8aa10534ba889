"""Notices that appear on any page: the outcome of a click, and the end of a run."""

from typing import Any

import streamlit as st

from dashboard.session import run_reader
from dashboard.text import plain
from dashboard.widgets import sizes
from trimcore import runs, tables
from trimcore.errors import RunError

EVERY = 3.0  # seconds; each check reads two small files per active run
SECONDS = 20  # how long a notice stays
OUTCOMES = {
    "finished": "has finished", "failed": "has failed", "lost": "is lost", "paused": "is paused",
    "stopped": "was stopped",
}  # fmt: skip


def show_notice() -> None:
    """The outcome of a click, at the top of the page (see `messages.notice`)."""
    if found := st.session_state.pop("notice", None):
        kind, text = found
        {"error": st.error, "warning": st.warning, "success": st.success}[kind](plain(text))


def result_text(events: list[dict[str, Any]]) -> str:
    """`2.50× smaller at 98.70% test accuracy`; "" without a finished iteration. Markdown."""
    rows = tables.iterations(events)
    row = rows[rows.iteration == runs.result_in(events)]
    if row.empty:
        return ""
    metric = tables.metric_of(events)
    value = f"{metric.text(row.metric_final.iloc[0])} test {plain(metric.name)}"
    if row.iteration.iloc[0] == 0:
        return value
    ratio, what = row.compression.iloc[0], "smaller"
    if tables.has_zero_weights(events):
        ratio, what = sizes.with_nonzero_compression(row).compression.iloc[0], "fewer non-zero parameters"
    return f"{ratio:.2f}× {what} at {value}"


def notice(status: runs.Status) -> str:
    """The notice that a run has ended. It names the run, because it appears on any page."""
    text = f"**{plain(run_reader.short_title(status.run_id))}** {OUTCOMES[status.state]}"
    more = plain(status.reason) if status.state != "finished" else result_text(run_reader.events(status.run_id))
    return f"{': '.join(filter(None, [text, more]))}."


def announce_ended_runs() -> None:
    """Announce when a run ends that this browser session has seen active. Part of every page. It checks again only
    while such a run is active or can be resumed."""
    watched = st.session_state.setdefault("awaited", {})  # run -> whether it was active at the last check
    watched.update({run_id: True for run_id in run_reader.unfinished() if _active(_status(run_id))})
    st.fragment(_check, run_every=EVERY if watched else None)()


def _check() -> None:
    """A fragment, so that the page is not rerun while the user is typing on it."""
    watched = st.session_state.awaited
    for run_id, was_active in list(watched.items()):
        status = _status(run_id)
        if status and was_active and not status.active:  # shown before it is recorded: a rerun may come in between
            st.toast(notice(status), icon=run_reader.STATE_ICONS[status.state], duration=SECONDS)
        if status is None or status.state == "finished":
            del watched[run_id]
        else:
            watched[run_id] = status.active


def _active(status: runs.Status | None) -> bool:
    return status is not None and status.active


def _status(run_id: str) -> runs.Status | None:
    """The status of a run; None if it has been deleted."""
    try:
        return run_reader.status(run_id)
    except RunError:
        return None
