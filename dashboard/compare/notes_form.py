"""A form for the name, the note and the tags of a run."""

import zlib
from collections.abc import Mapping

import streamlit as st

from dashboard.compare import deletion
from dashboard.session import messages, run_reader
from dashboard.text import plain
from trimcore import runs
from trimcore.runs.notes import LONGEST, MOST_TAGS


def controls(run_id: str) -> None:
    """The form for name, note and tags, and the button to delete the run."""
    with st.container(horizontal=True, vertical_alignment="center"):
        _editor(run_id)
        reason = deletion.blocking_reason(run_id)
        st.button("Delete…", key="delete", icon=":material/delete:", disabled=bool(reason), help=reason or None,
                  on_click=deletion.confirm, args=(run_id,))  # fmt: skip
        if reason:
            st.caption(plain(f"Cannot be deleted: {reason}."))


def _editor(run_id: str) -> None:
    """The form. Its widget keys change with the notes, so that the fields always show the stored values."""
    found = run_reader.notes(run_id)
    version = zlib.crc32(f"{run_id} {found}".encode())
    keys = {field: f"notes_{field}_{version}" for field in ("name", "note", "tags")}
    with st.popover("Name, note, tags", icon=":material/edit_note:"), st.form(f"notes_{run_id}", border=False):
        st.text_input("Name", found.name, key=keys["name"], max_chars=LONGEST["name"],
                      help="Replaces the name in the spec.", placeholder=run_reader.short_title(run_id))  # fmt: skip
        st.text_area("Note", found.note, key=keys["note"], max_chars=LONGEST["note"],
                     help="Shown as plain text.")  # fmt: skip
        st.multiselect(
            "Tags", sorted({*known_tags(), *found.tags}), list(found.tags), key=keys["tags"], accept_new_options=True,
            max_selections=MOST_TAGS, placeholder="Choose a tag or type a new one",
        )  # fmt: skip
        st.form_submit_button("Save", type="primary", on_click=_save, args=(run_id, keys))


def _save(run_id: str, keys: Mapping[str, str]) -> None:
    name, note, tags = (st.session_state[keys[field]] for field in ("name", "note", "tags"))
    messages.attempt(runs.write_notes, run_reader.folder(), run_id, runs.Notes(name, note, tuple(tags)))


def known_tags() -> list[str]:
    """The tags of all runs in alphabetical order."""
    return sorted({tag for run_id in run_reader.run_ids() for tag in run_reader.notes(run_id).tags})
