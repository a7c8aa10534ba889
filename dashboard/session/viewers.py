"""How many browsers watch a run now. All of them share one server, so with many of them each asks less often."""

import secrets
import time

import streamlit as st

FEW, RECENT = 3, 8.0  # viewers that do not matter; seconds after which one has left
EVERY, EVERY_OF_MANY = 1.0, 2.0  # seconds between two readings of a viewer
_seen: dict[str, float] = {}  # a name of each session -> when it last looked


def note() -> None:
    """This session is looking now."""
    me, now = st.session_state.setdefault("viewer", secrets.token_hex(8)), time.monotonic()
    _seen[me] = now
    for name, when in list(_seen.items()):
        if now - when > RECENT:
            _seen.pop(name, None)


def interval() -> float:
    """Seconds between two readings of this session."""
    note()
    return EVERY if len(_seen) <= FEW else EVERY_OF_MANY
