"""Notices for the top of the next page."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from trimcore.errors import TrimError


def notice(text: str, kind: str = "error") -> None:
    """Show a text at the top of the next page."""
    st.session_state.notice = (kind, text)


def attempt(action: Callable[..., Any], *arguments: Any) -> None:
    """Call an action and turn a user error into a notice; for callbacks of buttons."""
    try:
        action(*arguments)
    except TrimError as error:
        notice(str(error))
