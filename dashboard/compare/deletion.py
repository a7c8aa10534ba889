"""Delete a run after a confirmation, or say why it cannot be deleted."""

import streamlit as st

from dashboard.charts.tables import counted
from dashboard.session import messages, navigation, run_reader
from dashboard.text import plain, size_text
from trimcore import runs, tables
from trimcore.errors import TrimError


def blocking_reason(run_id: str) -> str:
    """Why `runs.delete` would refuse to delete a run; "" if it would not."""
    if (status := run_reader.status(run_id)).active:
        return f"it is {status.state}; stop it first"
    if branches := run_reader.children(run_id):
        return f"{counted(len(branches), 'run')} branched from it; delete {branches[-1]} first"
    return ""


@st.dialog("Delete this run permanently?")
def confirm(run_id: str) -> None:
    if run_id not in run_reader.run_ids():  # it has just been deleted
        st.rerun()
    finished = len(tables.latest(run_reader.events(run_id), "iteration"))
    size = size_text(size_of(run_id))
    st.markdown(f"**{plain(run_reader.title(run_id))}**")
    st.markdown(
        f"`{run_id}`: {counted(finished, 'iteration')} with all checkpoints, tables and notes, {size} on disk. "
        "You cannot undo this."
    )
    if st.button("Delete run", key="delete_it", type="primary", icon=":material/delete:", on_click=delete,
                 args=(run_id,)):  # fmt: skip
        st.rerun()


def delete(run_id: str) -> None:
    """Delete a run and show a notice. If it was selected, no run is selected afterwards. For a button's callback."""
    try:
        title, size = run_reader.title(run_id), size_text(size_of(run_id))
        runs.delete(run_reader.folder(), run_id)
    except TrimError as error:
        messages.notice(str(error))
        return
    if navigation.selected_run() == run_id:
        st.session_state.run = None
    if st.query_params.get("run") == run_id:
        st.query_params.pop("run")
    messages.notice(f"Deleted {title} ({size}).", "success")


def size_of(run_id: str) -> int:
    """The total size of a run's files in bytes. Files that disappear in the meantime are ignored. Raises RunError if
    the run does not exist."""
    total = 0
    for path in runs.open_run(run_reader.folder(), run_id).rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total
