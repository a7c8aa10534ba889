"""Maxout units on the page Profile: how often each neuron is the maximum of its unit."""

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts.units import DOMINANT
from dashboard.text import plain
from dashboard.widgets import draft_steps, elements

EXPLANATION = "The neurons of a maxout layer form units of k, and each unit passes on only its largest activation. The "
EXPLANATION += "**relevance** of a neuron is how often it is that maximum, over the training examples and positions. "
EXPLANATION += "The relevance in a unit adds up to 100 %. A tie is shared equally among all neurons that reach the "
EXPLANATION += "maximum, even if all are zero, so the order of the neurons does not matter (Rueda et al. 2017)."


def show(units: pd.DataFrame, examples: int, run_id: str) -> None:
    """The section for the maxout layers of a profile. units: from `tables.units`, of one iteration."""
    st.markdown("##### Maxout units")
    st.caption(EXPLANATION)
    names = units.layer.unique().tolist()
    layer = names[0]
    if len(names) > 1:
        layer = st.segmented_control("Maxout layer", names, default=layer, required=True, key=f"units_{run_id}")
    own = units[units.layer == layer]
    by_unit, never = own.groupby("unit").relevance, own[own.relevance == 0]
    k, count = int(own.member.max()) + 1, own.unit.nunique()
    elements.metrics(
        ("Units", f"{count:,} × {k}", f"The {len(own):,} neurons of {layer} form units of k = {k}."),
        ("Dominated units", f"{int((by_unit.max() >= DOMINANT).sum()):,} of {count:,}",
         "Units in which one neuron is the maximum at least 90 % of the time."),
        ("Never the maximum", f"{len(never):,} of {len(own):,}", "Neurons with a relevance of exactly 0."),
        ("Least relevant", f"{by_unit.min().mean():.1%}", "The mean relevance of the weakest neuron of each unit: the "
         f"share of maxima that another neuron takes over when it is removed. An even share is {1 / k:.0%}."),
        ("Training examples", f"{examples:,}", "The number of training images on which relevance was measured."),
    )  # fmt: skip
    left, right = st.columns(2, gap="large")
    with left:
        original = st.toggle("Sort units by index", key=f"units_in_order_{run_id}")
        elements.chart(charts.unit_heatmap(own, original), "unit_heatmap")
        st.caption(
            "One row per unit, in the order of the layer." if original else "One row per unit, sorted by the share of "
            "its strongest neuron, largest first. Each row goes from the strongest neuron to the weakest, which is "
            "removed first."
        )  # fmt: skip
    with right:
        st.markdown(f"###### Share of the strongest neuron in each unit of {plain(layer)}")
        elements.chart(charts.unit_imbalance(own), "unevenness")
        _table(own)
    st.button(
        f"Plan to prune the units, {k} → 1", icon=":material/arrow_forward:", key="plan_units",
        icon_position="right", on_click=draft_steps.plan_units, args=(run_id, names, int(units.member.max()) + 1),
    )  # fmt: skip


def _table(own: pd.DataFrame) -> None:
    listed = own[["neuron", "original_neuron", "unit", "relevance"]].sort_values(["relevance", "neuron"])
    st.dataframe(
        listed.assign(relevance=100 * listed.relevance), hide_index=True, height=240, alt="Neurons by relevance",
        column_config=elements.with_help(listed, {
            "relevance": st.column_config.ProgressColumn(format="%.1f %%", max_value=100),
            "original_neuron": st.column_config.NumberColumn("original"),
        }),
    )  # fmt: skip
