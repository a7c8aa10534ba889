"""Charts by iteration for a run that has maxout units or prunes weights."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.widgets import elements
from trimcore import tables

BYTES = "The size of a safetensors file. The dense file stores every weight; the sparse file stores only the non-zero "
BYTES += "weights and the gaps between them, at one byte per gap (Han et al. 2016)."


def history(events: list[dict[str, Any]], rows: pd.DataFrame) -> None:
    """Charts of a run that has maxout units or prunes weights, two per row. rows: of `tables.iterations`."""
    units, zeros, found = tables.units(events), tables.sparsity(events), []
    if units.iteration.nunique() > 1:
        help = "At 100 %, it is the maximum as often as the others. Near 0 %, it can be removed without loss."
        found.append(("Relevance of the weakest neuron of each unit", charts.unit_history(units), "unit_history", help))
    if len(zeros):
        help = "Measured after each step that prunes weights."
        found.append(("Zero weights by layer", charts.sparsity_history(zeros), "sparsity", help))
    if tables.has_zero_weights(events) and len(rows) > 1:
        help = "Non-zero parameters remain after weight pruning. The network still computes with the zeros."
        found.append(("Parameters", charts.parameter_history(rows), "parameter_history", help))
        if rows.bytes_dense.notna().any():
            found.append(("File size", charts.byte_history(rows), "byte_history", BYTES))
    places = [column for _ in found[::2] for column in st.columns(2, gap="large")]
    for column, (title, figure, key, help) in zip(places, found, strict=False):
        with column:
            st.markdown(f"##### {title}", help=help)
            elements.chart(figure, key)
