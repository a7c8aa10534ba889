"""What people write on runs, and taking a run away: a name, a note and tags in a small form, and a delete that asks."""

import zlib
from collections.abc import Mapping

import streamlit as st

from dashboard import frame, store, work
from dashboard.charts.tables import counted
from trimcore import runs, tables
from trimcore.errors import TrimError
from trimcore.runs.notes import LONGEST, MOST_TAGS

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def show(run_id: str) -> None:
    """What is written on a run, exactly as it was written: no Markdown, no HTML."""
    found = store.notes(run_id)
    if found.tags:
        st.caption("Tags: " + ", ".join(map(frame.plain, found.tags)))
    if found.note:
        st.text(found.note)


def controls(run_id: str) -> None:
    """The form for name, note and tags, and the way to delete the run."""
    with st.container(horizontal=True, vertical_alignment="center"):
        _editor(run_id)
        reason = why_it_stays(run_id)
        st.button("Delete…", key="delete", icon=":material/delete:", disabled=bool(reason), help=reason or None,
                  on_click=_confirm_delete, args=(run_id,))  # fmt: skip
        if reason:
            st.caption(frame.plain(f"Cannot be deleted: {reason}."))


def _editor(run_id: str) -> None:
    """The form. Its fields are others after each change of the notes, so that they show what is there."""
    found = store.notes(run_id)
    version = zlib.crc32(f"{run_id} {found}".encode())
    keys = {field: f"notes_{field}_{version}" for field in ("name", "note", "tags")}
    with st.popover("Name, note, tags", icon=":material/edit_note:"), st.form(f"notes_{run_id}", border=False):
        st.text_input("Name", found.name, key=keys["name"], max_chars=LONGEST["name"],
                      help="Instead of that of the spec.", placeholder=store.short_title(run_id))  # fmt: skip
        st.text_area("Note", found.note, key=keys["note"], max_chars=LONGEST["note"],
                     help="Shown as it is written.")  # fmt: skip
        st.multiselect(
            "Tags", sorted({*known_tags(), *found.tags}), list(found.tags), key=keys["tags"], accept_new_options=True,
            max_selections=MOST_TAGS, placeholder="choose, or write a new one",
        )  # fmt: skip
        st.form_submit_button("Save", type="primary", on_click=_save, args=(run_id, keys))


def _save(run_id: str, keys: Mapping[str, str]) -> None:
    name, note, tags = (st.session_state[keys[field]] for field in ("name", "note", "tags"))
    work.attempt(runs.write_notes, store.folder(), run_id, runs.Notes(name, note, tuple(tags)))


def known_tags() -> list[str]:
    """All tags of all runs, in alphabetical order."""
    return sorted({tag for run_id in store.run_ids() for tag in store.notes(run_id).tags})


def why_it_stays(run_id: str) -> str:
    """Why `runs.delete` would refuse a run; "" where it would not."""
    if (status := store.status(run_id)).active:
        return f"it is {status.state}, stop it first"
    if heirs := store.children(run_id):
        return f"{counted(len(heirs), 'run')} began at an iteration of it, delete {heirs[-1]} first"
    return ""


@st.dialog("Delete this run for good?")
def _confirm_delete(run_id: str) -> None:
    if run_id not in store.run_ids():  # it has just been deleted
        st.rerun()
    finished = len(tables.latest(store.events(run_id), "iteration"))
    size = in_bytes(size_of(run_id))
    st.markdown(f"**{frame.plain(store.title(run_id))}**")
    st.markdown(
        f"`{run_id}`: {counted(finished, 'iteration')} with all networks, tables and notes, {size} on disk. "
        "This cannot be undone."
    )
    if st.button("Delete it", key="delete_it", type="primary", icon=":material/delete:", on_click=delete,
                 args=(run_id,)):  # fmt: skip
        st.rerun()


def delete(run_id: str) -> None:
    """Delete a run and say so; where it was selected, none is any more. For a button's callback."""
    try:
        title, size = store.title(run_id), in_bytes(size_of(run_id))
        runs.delete(store.folder(), run_id)
    except TrimError as error:
        work.notice(str(error))
        return
    if work.selected_run() == run_id:
        st.session_state.run = None
    if st.query_params.get("run") == run_id:
        st.query_params.pop("run")
    work.notice(f"Deleted: {title} ({size}).", "success")


def size_of(run_id: str) -> int:
    """The bytes of a run's files. One that vanishes while we look counts nothing. Raises RunError without the run."""
    total = 0
    for path in runs.open_run(store.folder(), run_id).rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total


def in_bytes(size: float) -> str:
    """`512 bytes`, `1.7 MB`."""
    for unit in UNITS:
        if size < 999.5 or unit == UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 99.5 else f"{size:.1f} {unit}"
