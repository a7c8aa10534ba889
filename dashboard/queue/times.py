"""When runs were queued, started, and are expected to start and to end, in words."""

from datetime import tzinfo
from zoneinfo import ZoneInfo

import streamlit as st

from dashboard.session import run_reader
from dashboard.session.queue_reader import Reading
from dashboard.text import clock, duration, plain
from trimcore.jobs import forecast
from trimcore.jobs.queue import Entry


def zone() -> tzinfo | None:
    """The zone of the browser; None, this machine's, if it is unknown."""
    try:
        return ZoneInfo(st.context.timezone or "")
    except (ValueError, OSError, KeyError):  # a browser may send anything
        return None


def working_text(entry: Entry, at: float, here: tzinfo | None) -> str:
    """`Started 14:02 · ends about 14:35, in 33 min`."""
    end = forecast.expected_end(entry, at)
    if entry.status.stalled:
        return "It has not responded for 30 s. Its process is alive but may be stuck."
    began = f"Started {clock(entry.started_at, at, here)}" if entry.started_at else "Start unknown"
    return f"{began} · {_expected('ends', end, at, here)}"


def waiting_text(entry: Entry, reading: Reading, here: tzinfo | None) -> str:
    """`Queued 14:02 · starts about 14:35, in 33 min`."""
    queued = f"Queued {clock(entry.queued_at, reading.at, here)}" if entry.queued_at else "Queued at an unknown time"
    if entry.state == "held":
        return f"{queued} · held until it is released"
    if entry.awaits:
        return f"{queued} · waits for the base network of {plain(run_reader.short_title(entry.awaits))}"
    if entry.state != "queued":
        return f"{queued} · being taken out"
    return f"{queued} · {_expected('starts', reading.starts.get(entry.run_id), reading.at, here)}"


def _expected(verb: str, then: float | None, now: float, here: tzinfo | None) -> str:
    if then is None:
        return f"{verb.removesuffix('s')} not known yet"
    if then - now < 1:
        return f"{verb} soon"
    return f"{verb} about {clock(then, now, here)}, in {duration(then - now)}"
