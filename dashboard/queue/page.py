"""The page Queue: what works and what waits on each device. It is drawn again while anything is active."""

import streamlit as st

from dashboard.charts.tables import counted
from dashboard.queue import lines
from dashboard.session import memory, messages, queue_reader, run_reader, viewers
from dashboard.widgets import elements
from dashboard.widgets.next_step import next_step
from trimcore.jobs import restoring
from trimcore.jobs.queue import by_device

IDLE_EVERY = 5.0  # seconds while nothing is active, because somebody else may launch a run


def put_back() -> None:
    messages.attempt(restoring.restore, run_reader.folder())
    queue_reader.forget()


def offer_restore(restorable: list[str]) -> None:
    """A button that puts lost runs back which were waiting."""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        them = "it waited" if len(restorable) == 1 else "they waited"
        st.markdown(f":material/restart_alt: **{counted(len(restorable), 'run')} lost while {them}**  \n"
                    ":small[The machine was restarted, or the waiting processes were ended. Runs that had already "
                    "started are not put back; resume them on **Run**.]", width="stretch")  # fmt: skip
        st.button("Put back in order", type="primary", icon=":material/low_priority:", on_click=put_back)


def panel() -> None:
    viewers.note()
    memory.freeze_long_lived("live panel")
    reading = queue_reader.read()
    if {"notice", "go_to"} & set(st.session_state) or bool(reading.entries) != active:
        st.rerun()  # the whole page: a click has left a notice or opened another page, or the pace changes
    if reading.restorable:
        offer_restore(reading.restorable)
    for device, here in by_device(reading.entries).items():
        lines.show(device, here, reading)
    if not reading.entries:
        st.info("Nothing runs and nothing waits. Runs that you launch while their device is taken wait here, first "
                "come, first served.", icon=":material/low_priority:")  # fmt: skip
        next_step("Open Model", "model", "to_model")


elements.concept("queue")
active = bool(queue_reader.read().entries)
st.fragment(panel, run_every=viewers.interval() if active else IDLE_EVERY, key="queue")()
