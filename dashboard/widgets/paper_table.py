"""The paper's table for a run."""

from typing import Any

import streamlit as st

from dashboard.session import headline
from dashboard.text import plain
from dashboard.widgets import elements
from trimcore import tables


def paper_table(events: list[dict[str, Any]]) -> None:
    """The paper's table for a run. The configuration comes last, so that the numbers are visible without scrolling."""
    table = tables.paper_table(events)
    table = table[[*table.columns.drop("configuration"), "configuration"]]
    metric = tables.metric_of(events)
    st.dataframe(
        table, hide_index=True, placeholder="—",
        alt=f"Size and {metric.name} by iteration",
        column_config=elements.with_help(table, {
            "configuration": st.column_config.TextColumn(width="large"),
            "parameters": st.column_config.NumberColumn(format="localized"),
            "compression": st.column_config.NumberColumn(format="%.2f×"),
            "compression, non-zero": st.column_config.NumberColumn(format="%.2f×"),
            **{name: st.column_config.NumberColumn(format="localized")
               for name in ("non-zero parameters", "bytes dense", "bytes sparse")},
            **{name: st.column_config.NumberColumn(format="%.2f" if metric.percent else "%.4g")
               for name in headline.value_columns(table)},
        }),
    )  # fmt: skip
    others = headline.others_text(events)
    notes = [headline.direction(metric), f"The result's other metrics on the test split: {others}." if others else ""]
    if any(notes):
        st.caption(plain(" ".join(filter(None, notes))))
