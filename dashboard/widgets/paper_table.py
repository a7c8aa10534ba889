"""The paper's table for a run."""

import streamlit as st

from dashboard.widgets import elements
from trimcore import tables

MAX_LENGTH = 60  # characters of a configuration in the first column
MAX_COLUMNS = 6  # of a table that starts with the configuration


def paper_table(events: list[dict]) -> None:
    """The paper's table for a run. A long configuration, or one next to many columns, comes last, so that the numbers
    are visible without scrolling."""
    table = tables.paper_table(events)
    if table.configuration.str.len().max() > MAX_LENGTH or len(table.columns) > MAX_COLUMNS:
        table = table[[*table.columns.drop("configuration"), "configuration"]]
    st.dataframe(
        table, hide_index=True, placeholder="—",
        alt="Configuration, compression, initial and final accuracy",
        column_config=elements.with_help(table, {
            "configuration": st.column_config.TextColumn(width="large"),
            "parameters": st.column_config.NumberColumn(format="localized"),
            "compression": st.column_config.NumberColumn(format="%.2f×"),
            "compression, non-zero": st.column_config.NumberColumn(format="%.2f×"),
            **{name: st.column_config.NumberColumn(format="localized")
               for name in ("non-zero parameters", "bytes dense", "bytes sparse")},
        }),
    )  # fmt: skip
