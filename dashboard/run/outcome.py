"""The box at the top of the page that shows how a run ended."""

import streamlit as st

from dashboard.session import run_reader
from dashboard.text import plain
from dashboard.widgets import notices
from dashboard.widgets.next_step import next_step
from trimcore import runs


def box(status: runs.Status) -> None:
    """The result of a finished run, or the reason why it ended."""
    reason, icon = _sentence(plain(status.reason)), run_reader.STATE_ICONS[status.state]
    outcome = notices.OUTCOMES[status.state]
    if status.state == "finished":
        result = notices.result_text(run_reader.events(status.run_id))
        st.success(f"**{': '.join(filter(None, ['Finished', result]))}.** {reason}", icon=icon)
        next_step("Open report", "report", "to_report_at_once")
    elif status.state in ("failed", "lost"):
        st.error(f"**This run {outcome}.** {reason} The log below shows its last output.", icon=icon)
    else:
        st.info(f"**This run {outcome}.** {reason}", icon=icon)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""
