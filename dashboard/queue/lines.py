"""The line of one device: the run that works, and the runs that wait, with buttons that change their order."""

from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from dashboard.charts.tables import counted
from dashboard.queue import times
from dashboard.session import devices, messages, navigation, queue_reader, run_reader
from dashboard.session.queue_reader import Reading
from dashboard.text import plain
from dashboard.widgets import run_status
from trimcore.jobs import reordering
from trimcore.jobs.queue import Entry

SHOWN = 10  # waiting runs of a device; more on request


def show(device: str, here: list[Entry], reading: Reading) -> None:
    """A heading, the working runs (usually one), and the waiting ones in order."""
    working, waiting = [e for e in here if not e.waits], [e for e in here if e.waits]
    st.markdown(f"##### :material/developer_board: {plain(devices.devices().get(device, device))}")
    for entry in working:
        _working(entry, reading, device)
    if not working:
        st.caption("No run works on this device.")
    if not waiting:
        st.caption("Nothing waits.")
        return
    held = sum(entry.state == "held" for entry in waiting)
    st.caption(f"{counted(len(waiting), 'run')} waiting" + (f", {held} of them held" if held else ""))
    limit = st.session_state.get(f"queue_limit_{device}", SHOWN)
    for number, entry in enumerate(waiting[:limit], 1):
        _waiting(number, entry, reading, device, last=number == len(waiting))
    if len(waiting) > limit:
        st.button(f"Show {min(SHOWN, len(waiting) - limit)} more of {len(waiting) - limit}", key=f"more_{device}",
                  icon=":material/expand_more:", on_click=_show_more, args=(device, limit))  # fmt: skip


def _show_more(device: str, limit: int) -> None:
    st.session_state[f"queue_limit_{device}"] = limit + SHOWN


def _working(entry: Entry, reading: Reading, device: str) -> None:
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"{run_reader.STATE_ICONS[entry.state]} **{_title(entry)}**  \n"
                        f":small[{run_status.state_line(entry.status)}]", width="stretch")  # fmt: skip
            st.button("Open", key=f"open_{device}_{entry.run_id}", icon=":material/open_in_new:",
                      on_click=navigation.select, args=(entry.run_id, "run"),
                      help="Opens this run on the page Run.")  # fmt: skip
        st.progress(min(1.0, entry.status.progress), text=f"{entry.status.progress:.0%}")
        st.caption(f"{times.working_text(entry, reading.at, times.zone())}{_elsewhere(entry, device)}")


def _waiting(number: int, entry: Entry, reading: Reading, device: str, last: bool) -> None:
    held = entry.place.held
    with st.container(key=_key("waiting", entry, device), horizontal=True, vertical_alignment="center", gap="xsmall"):
        mark = f"{run_reader.STATE_ICONS['held']} " if held else ""
        when = f"{times.waiting_text(entry, reading, times.zone())}{_elsewhere(entry, device)}"
        st.markdown(f"**{number}.** {mark}{_title(entry)}  \n:small[:gray[{when}]]", width="stretch")
        with st.container(horizontal=True, width="content", gap="small"):  # words, since icons alone have no name
            for label, change, idle, text in (
                ("Up", _move("up", device), number == 1, "Lets it go before the run above."),
                ("Down", _move("down", device), last, "Lets the run below go first."),
                ("First", _move("first", device), number == 1, "Lets it go before all others."),
                ("Release", reordering.release, False, "Gives it its turn again.") if held else
                ("Hold", reordering.hold, False, "Lets others pass it until you release it."),
                ("Take out", reordering.take_out, False, "Stops it before it starts. You can resume it later."),
            ):  # fmt: skip
                st.button(label, key=_key(label, entry, device), type="tertiary", help=text, on_click=_change,
                          args=(change, entry.run_id), disabled=idle or entry.state == "stopping")  # fmt: skip


def _move(where: str, device: str) -> Callable[..., Any]:
    return partial(reordering.move, where=where, device=device)


def _change(change: Callable[..., Any], run_id: str) -> None:
    messages.attempt(change, run_reader.folder(), run_id)
    queue_reader.forget()


def _key(what: str, entry: Entry, device: str) -> str:
    return f"{what} {device} {entry.run_id}".replace(" ", "_").replace(":", "-").lower()


def _title(entry: Entry) -> str:
    return plain(run_reader.title(entry.run_id))


def _elsewhere(entry: Entry, device: str) -> str:
    """The other devices that a run uses or waits for."""
    others = [other for other in entry.devices if other != device]
    return f" · also on {plain(', '.join(others))}" if others else ""
