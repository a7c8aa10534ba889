"""The drawing of the network on the page Model, with its MACs or its time beside the parameters."""

from typing import Any

import streamlit as st

from dashboard import charts
from dashboard.model import times
from dashboard.widgets import elements
from dashboard.widgets.drawing import cut_together, drawing_caption, layer_rows
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import Cost
from trimcore.timing.layer_times import LayerTimes


def section(draft: dict[str, Any], graph: ChannelGraph, cost: Cost) -> LayerTimes | None:
    """Draw the network. Returns the times that are drawn, if any."""
    beside = st.segmented_control("Beside the parameters", ["MACs", "Time"], default="MACs", required=True,
                                  key="drawn_beside", persist_state="session")  # fmt: skip
    found = times.section(draft, cost) if beside == "Time" else None
    if beside == "Time" and found is None:
        st.caption("The time of these layers has not been measured yet, so the drawing shows their MACs.")
    rows, groups = layer_rows(graph, cost), cut_together(graph)
    rows = rows.assign(**times.columns(rows.layer, found))
    elements.chart(charts.network_drawing(rows, groups, found.sum_ms if found else 0.0), "network")
    st.caption(drawing_caption(groups))
    return found
