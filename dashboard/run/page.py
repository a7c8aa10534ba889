"""The page Run: the progress of a run, and buttons to pause, finish, stop and resume it."""

import streamlit as st

from dashboard.run import outcome, results
from dashboard.session import messages, run_reader
from dashboard.text import plain
from dashboard.widgets import run_status
from dashboard.widgets.next_step import need_run, next_step
from trimcore import runs
from trimcore.jobs import control

run_id = need_run()


def ask(action: str) -> None:
    messages.attempt(control.ask, run_reader.folder(), run_id, action)


@st.dialog("Stop this run?")
def confirm_stop() -> None:
    name = plain(run_reader.title(run_id))
    when, after = ("batch", "you can resume the run") if resumable else ("epoch", "the program goes on after its loop")
    st.markdown(f"**{name}** stops at the next {when}. Finished epochs are kept, and {after}.")
    if st.button("Stop run", type="primary", icon=":material/stop:"):
        ask("stop")
        st.rerun()


st.caption(f"{plain(run_reader.title(run_id))}  ·  {plain(run_id)}")
origin = run_reader.imported_from(run_id)
if run_id == runs.EXAMPLE:
    st.caption(":material/school: This is the example that comes with trimcore. You can look at everything, export it, "
               "and branch from it on **Plan**.")  # fmt: skip
elif origin:
    st.caption(f":material/move_to_inbox: Imported from another installation ({plain(origin)}). You can view this run "
               "and branch from it on **Plan**.")  # fmt: skip
status = run_reader.status(run_id)
asked = status.values.get("asked") if status.active else ""
own_loop = bool(status.values.get("own_loop"))
resumable = control.can_resume(runs.open_run(run_reader.folder(), run_id))
with st.container(horizontal=True, vertical_alignment="center"):
    if status.active:
        if not own_loop:
            st.button("Pause", icon=":material/pause:", on_click=ask, args=("pause",),
                      disabled=asked in ("pause", "stop"),
                      help="Pauses after this epoch. Resume continues from there.")  # fmt: skip
        st.button("Finish after this iteration", icon=":material/flag:", on_click=ask, args=("finish",),
                  disabled=asked in ("finish", "stop"))  # fmt: skip
        st.button("Stop…", icon=":material/stop:", on_click=confirm_stop, disabled=asked == "stop")
    elif status.state in control.RESUMABLE and not origin and not resumable:
        st.caption("A Python program carried out this run. Only that program can continue it.")
    elif status.state in control.RESUMABLE and not origin:
        st.button("Resume", type="primary", icon=":material/play_arrow:", on_click=messages.attempt,
                  args=(control.resume, run_reader.folder(), run_id))  # fmt: skip
if not run_status.watch(run_id, "run", results.show):
    outcome.box(run_reader.status(run_id))
    st.fragment(results.show)(run_id)
if status.state == "finished":
    next_step("Open report", "report", "to_report")
