"""How is it going, and should I stop it?"""

import streamlit as st

from dashboard import ending, frame, live, results, store, work
from trimcore.jobs import control

run_id = frame.need_run()


def ask(action: str) -> None:
    work.attempt(control.ask, store.folder(), run_id, action)


@st.dialog("Stop this run?")
def confirm_stop() -> None:
    name = frame.plain(store.title(run_id))
    st.markdown(f"**{name}** stops at its next batch. What it finished is kept, and it can be resumed.")
    if st.button("Stop it", type="primary", icon=":material/stop:"):
        ask("stop")
        st.rerun()


st.caption(f"{frame.plain(store.title(run_id))}  ·  `{run_id}`")
if origin := store.brought(run_id):
    st.caption(f":material/move_to_inbox: Brought from another installation ({frame.plain(origin)}): it can be looked "
               "at, and branched from on **Plan**.")  # fmt: skip
status = store.status(run_id)
asked = status.values.get("asked") if status.active else ""
with st.container(horizontal=True, vertical_alignment="center"):
    if status.active:
        st.button("Pause", icon=":material/pause:", on_click=ask, args=("pause",), disabled=asked in ("pause", "stop"),
                  help="At the end of this epoch. Resume goes on from there.")  # fmt: skip
        st.button("Finish after this iteration", icon=":material/flag:", on_click=ask, args=("finish",),
                  disabled=asked in ("finish", "stop"))  # fmt: skip
        st.button("Stop…", icon=":material/stop:", on_click=confirm_stop, disabled=asked == "stop")
    elif status.state in control.RESUMABLE and not origin:
        st.button("Resume", type="primary", icon=":material/play_arrow:", on_click=work.attempt,
                  args=(control.resume, store.folder(), run_id))  # fmt: skip
if not live.watch(run_id, "run", results.show):
    ending.box(store.status(run_id))
    st.fragment(results.show)(run_id)
if status.state == "finished":
    frame.next_step("Take the report", "report", "to_report")
