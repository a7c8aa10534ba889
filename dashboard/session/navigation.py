"""The selected run, and switching to another page."""

import streamlit as st


def selected_run() -> str | None:
    return st.session_state.get("run")


def select(run_id: str, page: str = "") -> None:
    """Select a run, and open `page` if it is named; for callbacks of buttons."""
    st.session_state.run = run_id
    if page:
        go_to(page)


def go_to(page: str) -> None:
    """Open a page; for callbacks of buttons."""
    st.session_state.go_to = page
