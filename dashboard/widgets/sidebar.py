"""The sidebar: the selected run, which is part of the URL, and the current network."""

from contextlib import suppress
from typing import Any

import streamlit as st

from dashboard.session import devices, drafts, navigation, run_reader
from dashboard.text import plain
from dashboard.widgets import frame
from trimcore import data, tables
from trimcore.errors import RunError, TrimError
from trimcore.models import own


def show() -> None:
    st.logo(frame.IMAGES / "logo.svg", size="large", icon_image=frame.IMAGES / "mark.svg")
    with st.sidebar:
        _run_choice()
        _network_card()


def _run_choice() -> None:
    ids = run_reader.selectable()
    _follow_url(ids)
    st.session_state.run_choice = st.session_state.run  # a widget's own value would be lost from page to page
    st.selectbox(
        "Run", ids, key="run_choice", index=None, on_change=_choose, placeholder="Select a run",
        format_func=label,
        help="The run that Profile, Run and Report show. The URL contains the run and the current view of the page, "
             "so you can share it as a link.",
    )  # fmt: skip
    if chosen := st.session_state.run:
        st.query_params["run"] = st.session_state.run_in_url = chosen


def _choose() -> None:
    """Select the chosen run. If its label has changed since the browser received it, for example because the run has
    ended, the browser sends text that is no run id; then the selection stays."""
    if (chosen := st.session_state.run_choice) not in (None, *run_reader.selectable()):
        return
    st.session_state.run = chosen
    if st.session_state.run is None:
        st.query_params.pop("run", None)


def _follow_url(ids: list[str]) -> None:
    """Select the run of the URL's `?run=` when a link or the browser's back button has changed it.

    (Streamlit's own binding would write the label, which changes with the run's state.) A run that does not exist gets
    a warning.
    """
    asked = st.query_params.get("run")
    if asked and asked != st.session_state.get("run_in_url"):
        st.session_state.run_in_url = asked
        if asked in ids:
            st.session_state.run = asked
            _plan_for(asked)
        else:
            st.session_state.link = None  # its other values belong to that run
            try:
                run_reader.status(asked[:100])  # longer than any id; a link may have any length
            except RunError as error:
                st.session_state.notice = ("warning", f"The link names a run that does not exist: {error}.")
    if st.session_state.setdefault("run", None) not in (None, *ids):
        st.session_state.run = None


def _plan_for(run_id: str) -> None:
    """Open a link to a run on the run's network, unless the session has chosen one."""
    if "draft" not in st.session_state:
        with suppress(TrimError):  # the pages say what is wrong with the run
            asked = run_reader.spec_of(run_id)
            if not own.is_user_defined(asked.model) and not data.is_own(asked.data):
                drafts.adopt(run_id)


def label(run_id: str) -> str:
    """A run in the list: a symbol for its state, and its title."""
    marks = {"running": "▶", "finished": "✓", "failed": "✗", "queued": "…", "paused": "‖", "stopped": "■", "lost": "?"}
    return f"{marks.get(run_reader.status(run_id).state, '…')} {run_reader.title(run_id)}"


def _network_card() -> None:
    draft = drafts.draft()
    with st.container(border=True, gap="xxsmall"):
        st.caption("Current network")
        st.markdown(f"**{draft['model']}** on **{draft['data']}**")
        run_id = navigation.selected_run()
        if run_id and (first := _base_row(run_id)):
            metric = tables.metric_of(run_reader.events(run_id))
            value = f"{metric.text(tables.value_of(first, 'accuracy_final'))} {plain(metric.name)}"
            st.caption(f"iteration 0: {value}, {first['parameters']:,} parameters")
        st.caption(devices.devices().get(draft["device"], draft["device"]))


def _base_row(run_id: str) -> dict[str, Any] | None:
    try:
        asked, draft = run_reader.spec_of(run_id), drafts.draft()
    except TrimError:
        return None
    if (asked.model, asked.data) != (draft["model"], draft["data"]):
        return None
    return next((e for e in run_reader.events(run_id) if e["kind"] == "iteration"), None)
