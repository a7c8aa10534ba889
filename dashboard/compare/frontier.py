"""The test accuracy of the compared runs by compression."""

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.compare.seeds import mean_over_seeds
from dashboard.compare.verdict import differ_only_in_criterion, verdict
from dashboard.session import run_reader
from dashboard.widgets import elements, sizes
from dashboard.widgets.criteria import criteria_text
from trimcore import tables
from trimcore.tables import published

PARAMETERS, NONZERO = "parameters", "non-zero parameters"


def show(picked: list[str], groups: list[list[str]]) -> None:
    """The frontier of the runs. On request, each group of seeds is one line."""
    only_criterion = differ_only_in_criterion([run_reader.spec_of(i) for i in picked])
    names = {i: criteria_text(run_reader.spec_of(i)) if only_criterion else run_reader.title(i) for i in picked}
    frames = [tables.iterations(run_reader.events(i)).assign(run=names[i]) for i in picked]
    points = pd.concat(frames) if frames else pd.DataFrame()
    elements.concept("compare", "Test accuracy by compression")
    if points.empty:
        st.info("None of these runs has a finished iteration yet.", icon=":material/hourglass_top:")
        return
    networks = {(run_reader.spec_of(i).model, run_reader.spec_of(i).data) for i in picked}
    rows = published.ON.get(next(iter(networks)), []) if len(networks) == 1 else []
    reference = pd.DataFrame([(n, c, a / 100) for n, _, c, _, a in rows], columns=["label", "compression", "accuracy"])
    by = PARAMETERS
    if any(tables.has_zero_weights(run_reader.events(i)) for i in picked):
        by = st.segmented_control("Size by", [PARAMETERS, NONZERO], default=by, required=True, key="size_in")
    points, size = (sizes.with_nonzero_compression(points), sizes.NONZERO) if by == NONZERO else (points, "compression")
    drawn = charts.frontier
    help = "Shows the mean of each group of seeds with error bars of one standard deviation."
    if groups and st.toggle("Average over seeds", key="sum_up_seeds", help=help):
        together = {names[i]: f"{run_reader.short_title(own[0])}, {len(own)} seeds" for own in groups for i in own}
        points, drawn = mean_over_seeds(points, together), charts.seed_frontier
    elements.chart(drawn(points, reference if len(reference) else None, size), "frontier", "compare")
    if only_criterion:
        st.markdown(f"These runs differ only in the criterion. {verdict(points)}")
    if len(networks) > 1:
        st.caption("These runs have different networks or data. Compare their compression, but not their accuracy.")
    if len(reference):
        st.caption("Grey: results from the paper, as published and not verified.")
