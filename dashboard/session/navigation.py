"""The selected run, and switching to another page."""

import streamlit as st


def selected_run() -> str | None:
    return st.session_state.get("run")


def go_to(page: str) -> None:
    """Open a page; for callbacks of buttons."""
    st.session_state.go_to = page
