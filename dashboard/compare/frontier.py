"""The test results of the compared runs by compression: one chart for each metric."""

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.compare.seeds import mean_over_seeds
from dashboard.compare.verdict import differ_only_in_criterion, verdict
from dashboard.session import headline, run_reader
from dashboard.text import plain
from dashboard.widgets import elements, sizes
from dashboard.widgets.criteria import criteria_text
from trimcore import tables
from trimcore.system import own_code
from trimcore.tables import Metric, published

PARAMETERS, NONZERO = "parameters", "non-zero parameters"


def show(picked: list[str], groups: list[list[str]]) -> None:
    """The frontier of the runs. On request, each group of seeds is one line."""
    only_criterion = differ_only_in_criterion([run_reader.spec_of(i) for i in picked])
    names = {i: criteria_text(run_reader.spec_of(i)) if only_criterion else run_reader.title(i) for i in picked}
    frames = by_metric({i: tables.iterations(run_reader.events(i)).assign(run=names[i]) for i in picked})
    metrics = list(frames)
    name = plain(metrics[0].name) if len(metrics) == 1 else "metric" if metrics else "accuracy"
    elements.concept("compare", f"Test {name} by compression")
    if not metrics:
        st.info("None of these runs has a finished iteration yet.", icon=":material/hourglass_top:")
        return
    by = PARAMETERS
    if any(tables.has_zero_weights(run_reader.events(i)) for i in picked):
        by = st.segmented_control("Size by", [PARAMETERS, NONZERO], default=by, required=True, key="size_in")
    help = "Shows the mean of each group of seeds with error bars of one standard deviation."
    average = bool(groups) and st.toggle("Average over seeds", key="sum_up_seeds", help=help)
    together = {names[i]: f"{run_reader.short_title(own[0])}, {len(own)} seeds" for own in groups for i in own}
    asked = [run_reader.spec_of(i) for i in picked]
    networks = {(one.model, one.data) for one in asked}
    if any(one.task == own_code.OWN_LOOP for one in asked):  # the program that recorded it chose the names
        networks = {(own_code.object_name(model), own_code.object_name(data)) for model, data in networks}
    if len(metrics) > 1:
        listed = ", ".join(f"{plain(metric.name)}{' in percent' if metric.percent else ''}" for metric in metrics)
        st.caption(f"These runs are judged by different metrics ({listed}), which cannot share an axis. Each metric "
                   "has its own chart.")  # fmt: skip
    for number, (metric, points) in enumerate(frames.items()):
        reference = _reference(networks) if metric.is_accuracy else None
        size, drawn = "compression", charts.frontier
        if by == NONZERO:
            points, size = sizes.with_nonzero_compression(points), sizes.NONZERO
        if average:
            points, drawn = mean_over_seeds(points, together), charts.seed_frontier
        key = f"frontier_{number}" if number else "frontier"
        elements.chart(drawn(points, reference, size, metric=metric), key, "compare")
        if only_criterion:
            st.markdown(f"These runs differ only in the criterion. {verdict(points, metric)}")
        if note := headline.direction(metric):
            st.caption(note)
        if reference is not None:
            st.caption("Grey: results from the paper, as published and not verified.")
    if len(networks) > 1:
        words = " or ".join(plain(metric.name) for metric in metrics)
        st.caption(f"These runs have different networks or data. Compare their compression, but not their {words}.")


def by_metric(frames: dict[str, pd.DataFrame]) -> dict[Metric, pd.DataFrame]:
    """The finished iterations of the runs, grouped by the runs' metrics. frames: run -> `tables.iterations`."""
    found: dict[Metric, list[pd.DataFrame]] = {}
    for run_id, own in frames.items():
        if len(own):
            found.setdefault(tables.metric_of(run_reader.events(run_id)), []).append(own)
    return {metric: pd.concat(own) for metric, own in found.items()}


def _reference(networks: set[tuple[str, str]]) -> pd.DataFrame | None:
    """The paper's rows, if all runs have the same network and data."""
    rows = published.ON.get(next(iter(networks)), []) if len(networks) == 1 else []
    found = [(name, ratio, final / 100) for name, _, ratio, _, final in rows]
    return pd.DataFrame(found, columns=["label", "compression", "metric"]) if found else None
