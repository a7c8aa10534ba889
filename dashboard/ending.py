"""How a run ended: in words, in a box on its page, and as a notice on whatever page a person is."""

import streamlit as st

from dashboard import pruned, store
from dashboard.frame import next_step, plain
from trimcore import runs, tables
from trimcore.errors import RunError

EVERY = 3.0  # seconds; two small files are read of each run that is waited for
SECONDS = 20  # that a notice stays


def result_in_words(events: list[dict]) -> str:
    """`2.50× smaller at 98.70 % test accuracy`; "" where no iteration was finished."""
    rows = tables.iterations(events)
    row = rows[rows.iteration == runs.result_in(events)]
    if row.empty:
        return ""
    accuracy = f"{row.accuracy_final.iloc[0]:.2%} test accuracy"
    if row.iteration.iloc[0] == 0:
        return accuracy
    ratio, what = row.compression.iloc[0], "smaller"
    if tables.has_zero_weights(events):
        ratio, what = pruned.without_zeros(row).compression.iloc[0], "smaller without its zeros"
    return f"{ratio:.2f}× {what} at {accuracy}"


SAID = {
    "finished": "has finished", "failed": "has failed", "lost": "is lost", "paused": "is paused",
    "stopped": "has been stopped",
}  # fmt: skip


def box(status: runs.Status) -> None:
    """The last word on a run, at the top of its page: what came of it, or what went wrong."""
    reason, mark = _sentence(plain(status.reason)), store.MARKS[status.state]
    if status.state == "finished":
        result = result_in_words(store.events(status.run_id))
        st.success(f"**{': '.join(filter(None, ['Finished', result]))}.** {reason}", icon=mark)
        next_step("See the report", "report", "to_report_at_once")
    elif status.state in ("failed", "lost"):
        st.error(f"**This run {SAID[status.state]}.** {reason} What it did last stands in the log below.", icon=mark)
    else:
        st.info(f"**This run {SAID[status.state]}.** {reason}", icon=mark)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""


def notice(status: runs.Status) -> str:
    """The notice that a run has ended, which may be read on any page: so it says which."""
    said = f"**{plain(store.short_title(status.run_id))}** {SAID[status.state]}"
    more = plain(status.reason) if status.state != "finished" else result_in_words(store.events(status.run_id))
    return f"{': '.join(filter(None, [said, more]))}."


def announce() -> None:
    """Tell when a run ends that this browser has seen active. Part of every page; looks again only while one is, or may
    be resumed."""
    awaited = st.session_state.setdefault("awaited", {})  # run -> whether it was active when it was last looked at
    awaited.update({run_id: True for run_id in store.unfinished() if _active(_status(run_id))})
    st.fragment(_tell, run_every=EVERY if awaited else None)()


def _tell() -> None:
    """A fragment: the page is not drawn anew, since a person may be writing on it."""
    awaited = st.session_state.awaited
    for run_id, was_active in list(awaited.items()):
        status = _status(run_id)
        if status and was_active and not status.active:  # told before it is noted: a page may begin anew in between
            st.toast(notice(status), icon=store.MARKS[status.state], duration=SECONDS)
        if status is None or status.state == "finished":
            del awaited[run_id]
        else:
            awaited[run_id] = status.active


def _active(status: runs.Status | None) -> bool:
    return status is not None and status.active


def _status(run_id: str) -> runs.Status | None:
    """None for a run that has been deleted."""
    try:
        return store.status(run_id)
    except RunError:
        return None
