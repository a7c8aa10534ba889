"""The paper's table for a run."""

import streamlit as st

from dashboard.widgets import elements
from trimcore import tables


def paper_table(events: list[dict]) -> None:
    """The paper's table for a run. The configuration comes last, so that the numbers are visible without scrolling."""
    table = tables.paper_table(events)
    table = table[[*table.columns.drop("configuration"), "configuration"]]
    st.dataframe(
        table, hide_index=True, placeholder="—",
        alt="Size and accuracy by iteration",
        column_config=elements.with_help(table, {
            "configuration": st.column_config.TextColumn(width="large"),
            "parameters": st.column_config.NumberColumn(format="localized"),
            "compression": st.column_config.NumberColumn(format="%.2f×"),
            "compression, non-zero": st.column_config.NumberColumn(format="%.2f×"),
            **{name: st.column_config.NumberColumn(format="localized")
               for name in ("non-zero parameters", "bytes dense", "bytes sparse")},
            **{name: st.column_config.NumberColumn(format="%.2f")
               for name in ("initial accuracy %", "final accuracy %")},
        }),
    )  # fmt: skip
