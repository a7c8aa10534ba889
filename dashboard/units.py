"""Maxout units on the Profile page: who is the maximum, and who never is."""

import pandas as pd
import streamlit as st

from dashboard import charts, frame, planning
from dashboard.charts.units import HANGS

WORDS = "Neurons of a maxout layer lie in units of k, and only the largest of each unit goes on. The **relevance** of "
WORDS += "a neuron is how often it is that maximum, over the training examples (and positions): 0 to 100 %, and "
WORDS += "100 % in each unit. A tie is shared equally among all neurons that attain the maximum, also where all of "
WORDS += "them are zero, so that the order of the neurons favours none (Rueda et al. 2017)."


def show(units: pd.DataFrame, examples: int, run_id: str) -> None:
    """The section of a profile for its maxout layers. units: as `tables.units` gives them, of one iteration."""
    st.markdown("##### Maxout units: which hang on one neuron, and which neurons are never the maximum?")
    st.caption(WORDS)
    names = units.layer.unique().tolist()
    layer = names[0]
    if len(names) > 1:
        layer = st.segmented_control("Maxout layer", names, default=layer, required=True, key=f"units_{run_id}")
    own = units[units.layer == layer]
    by_unit, never = own.groupby("unit").relevance, own[own.relevance == 0]
    k, count = int(own.member.max()) + 1, own.unit.nunique()
    frame.metrics(
        ("Units", f"{count:,} × {k}", f"{len(own):,} neurons of {layer}, k = {k} to a unit."),
        ("Hang on one neuron", f"{int((by_unit.max() >= HANGS).sum()):,} of {count:,}",
         "Units in which one neuron is the maximum in 90 % or more."),
        ("Never the maximum", f"{len(never):,} of {len(own):,}", "Neurons with a relevance of exactly 0."),
        ("Least relevant", f"{by_unit.min().mean():.1%}", "Relevance of the weakest neuron of each unit, on average: "
         f"so many maxima pass to another neuron when it goes. {1 / k:.0%} would be even."),
        ("Examples", f"{examples:,}", "Of the training split."),
    )  # fmt: skip
    left, right = st.columns(2, gap="large")
    with left:
        original = st.toggle("In the order of the layer", key=f"units_in_order_{run_id}")
        frame.chart(charts.unit_heatmap(own, original), "unit_heatmap")
        st.caption(
            "One row a unit, from above as in the layer." if original else "One row a unit. A unit is the more uneven "
            "the larger the share of its strongest neuron is: the most uneven stand above. In each row from the "
            "strongest neuron to the weakest, which goes first."
        )  # fmt: skip
    with right:
        st.markdown(f"###### How uneven are the units of {frame.plain(layer)}?")
        frame.chart(charts.unevenness(own), "unevenness")
        _table(own)
    st.button(
        f"Plan to remove the least relevant of each unit, {k} → 1", icon=":material/arrow_forward:", key="plan_units",
        icon_position="right", on_click=planning.plan_units, args=(run_id, names, int(units.member.max()) + 1),
    )  # fmt: skip


def _table(own: pd.DataFrame) -> None:
    listed = own[["neuron", "original_neuron", "unit", "relevance"]].sort_values(["relevance", "neuron"])
    st.dataframe(
        listed.assign(relevance=100 * listed.relevance), hide_index=True, height=240, alt="Neurons by relevance",
        column_config=frame.explained(listed, {
            "relevance": st.column_config.ProgressColumn(format="%.1f %%", max_value=100),
            "original_neuron": st.column_config.NumberColumn("original"),
        }),
    )  # fmt: skip
