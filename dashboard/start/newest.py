"""The newest runs of this installation, each with its state and result."""

import streamlit as st

from dashboard.session import navigation, run_reader
from dashboard.text import plain
from dashboard.widgets import run_status
from trimcore import runs, tables
from trimcore.errors import TrimError

MOST = 6


def show() -> None:
    """A card for each of the newest runs; nothing without runs."""
    ids = run_reader.run_ids()[:MOST]
    if not ids:
        return
    st.markdown("##### Your newest runs")
    with st.grid("auto", min_column_width=250):
        for run_id in ids:
            try:
                _card(run_id)
            except TrimError:
                continue  # it is being deleted


def _card(run_id: str) -> None:
    status = run_reader.status(run_id)
    with st.container(border=True, gap="xsmall", height="stretch"):
        st.markdown(f"{run_reader.STATE_ICONS[status.state]} **{plain(run_reader.title(run_id))}**")
        st.caption(_line(status))
        st.button("Open", key=f"open_{run_id}", type="tertiary", icon=":material/arrow_forward:",
                  icon_position="right", on_click=navigation.select, args=(run_id, "run"),
                  help=f"Open {run_reader.title(run_id)}")  # fmt: skip


def _line(status: runs.Status) -> str:
    """`finished, 8.03× smaller at 98.2 % test accuracy`, `running, 40 %, 2 min left`."""
    if status.active:
        left = status.values.get("eta_seconds")
        ahead = f", {run_status.time_left(left)} left" if left and status.state == "running" else ""
        return f"{status.state}, {status.progress:.0%}{ahead}"
    events = run_reader.events(status.run_id)
    rows = tables.iterations(events)
    if rows.empty:
        return status.state
    best, metric = rows[rows.iteration == runs.result_in(events)].iloc[0], tables.metric_of(events)
    return f"{status.state}, {best.compression:.2f}× smaller at {metric.text(best.metric_final, 1)} test {metric.name}"
