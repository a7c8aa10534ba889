"""The finished run that comes with trimcore, as a first look at what trimming does."""

from typing import Any

import streamlit as st

from dashboard import charts
from dashboard.charts.tables import counted, rows_of
from dashboard.session import run_reader
from dashboard.widgets import elements
from trimcore import runs, tables

RUN = runs.EXAMPLE
TITLE = "LeNet-5 on 5,000 handwritten digits"


def show() -> None:
    """The numbers of the example, and every neuron in every iteration."""
    with st.container(border=True, key="example"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge("Example", icon=":material/school:", color="blue")
            st.markdown(f"**{TITLE}**", width="content")
        _contents(run_reader.version(RUN))


@st.cache_data(max_entries=4, show_spinner=False)
def _contents(version: tuple[Any, ...]) -> None:
    """`version` identifies the recorded events, for the cache."""
    events = run_reader.events(RUN)
    rows, metric = tables.iterations(events), tables.metric_of(events)
    first, last = rows.iloc[0], rows.iloc[-1]
    elements.metrics(
        ("Compression", f"{last.compression:.0f}×"),
        ("Parameters", f"{first.parameters:,} → {last.parameters:,}"),
        ("MACs", f"{_short(first.macs)} → {_short(last.macs)}"),
        (f"Test {metric.name}", f"{metric.text(first.metric_final, 1)} → {metric.text(last.metric_final, 1)}"),
    )
    st.markdown("##### Which neurons went, and when?")
    labels = {
        row.iteration: f"<b>{row.iteration or 'base'}</b><br>{row.parameters:,}<br>{metric.text(row.metric_final, 1)}"
        for row in rows_of(rows)
    }
    test = next(event for event in events if event["kind"] == "started")["splits"]["test"]
    st.caption(
        "Each square is a neuron. Its colour says how often it is zero (APoZ): yellow neurons do almost nothing. Each "
        f"of the {counted(len(rows) - 1, 'iteration')} halves the network and trains what is left. Below each: its "
        f"number, parameters and accuracy on {test:,} test images."
    )
    elements.chart(charts.trimming(tables.profiles(events), labels), "trimming", RUN)


def _short(number: int) -> str:
    """`2.29 M`, `545 k`."""
    return f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"
