"""The note and the tags of a run."""

import streamlit as st

from dashboard.session import run_reader
from dashboard.text import plain


def show(run_id: str) -> None:
    """The tags and the note of a run, shown literally: no Markdown, no HTML."""
    found = run_reader.notes(run_id)
    if found.tags:
        st.caption("Tags: " + ", ".join(map(plain, found.tags)))
    if found.note:
        st.text(found.note)
