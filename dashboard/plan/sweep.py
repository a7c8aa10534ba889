"""Launch a sweep of the draft: one or two settings with a few values each, and when its runs stop."""

from typing import Any

import streamlit as st

from dashboard.charts.tables import counted
from dashboard.plan import sweep_settings
from dashboard.plan.metric import is_classification, planned_metric
from dashboard.plan.origin import StartPoint
from dashboard.plan.preview import spec_values
from dashboard.plan.sweep_settings import Setting
from dashboard.session import devices, drafts, launch
from dashboard.text import duration, plain
from trimcore.errors import TrimError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.jobs.sweeps import Job, jobs_of
from trimcore.spec import MAX_RUNS, MAX_SETTINGS
from trimcore.tables import Metric

BEHIND = 0.02  # of a share, to begin with


def section(draft: dict[str, Any], start: StartPoint | None, graph: ChannelGraph) -> None:
    """Collapsed at first. What is chosen here is not part of the draft."""
    with st.expander("Sweep…", key="sweep", on_change="rerun", icon=":material/grid_on:") as box:
        if box.open:
            _form(draft, start, graph)


def _form(draft: dict[str, Any], start: StartPoint | None, graph: ChannelGraph) -> None:
    st.caption("Tries a few values of one or two settings, each combination as a run of its own.")
    metric, trains = planned_metric(draft, start), start is None and drafts.trains_base(draft)
    known = {setting.key: setting for setting in sweep_settings.settings_of(draft, graph.trimmable(), trains)}
    chosen: dict[str, list[Any]] = {}
    try:
        for number in range(MAX_SETTINGS):
            offered = [key for key in known if key not in chosen]
            key = st.selectbox(
                "Setting" if not number else "Second setting", offered, index=None if number else 0,
                format_func=lambda key: known[key].label, placeholder="none", key=f"sweep_setting_{number}",
                persist_state="session",
            )  # fmt: skip
            if key is None:
                break
            chosen[key] = _values(known[key], number)
        rule = _rule(draft, metric)
        values = sweep_settings.with_layers(spec_values(draft, start), list(chosen), graph.trimmable())
        asked = {**values, "sweep": {"values": chosen, **rule}}
        jobs = jobs_of(asked)
    except TrimError as error:
        st.warning(plain(f"{error}"), icon=":material/error:")
        return
    seconds = devices.epoch_seconds(values)
    expected = seconds and seconds * sum(map(_epochs, jobs))
    bases = sum(job.member.point is None for job in jobs)
    runs = counted(len(jobs) - bases, "run")
    st.caption(_sharing(bases, trains))
    label = f"Launch {runs} (about {duration(expected)})" if expected else f"Launch {runs}"
    if st.button(label, key="launch_sweep", icon=":material/grid_on:", width="stretch"):
        launch.start_sweep(asked)


def _values(setting: Setting, number: int) -> list[Any]:
    """The field for the values of a setting. Raises SpecError."""
    key, label = f"sweep_values_{number}_{setting.key}", "Values of the second setting" if number else "Values"
    if setting.choices:
        picked = st.multiselect(label, list(setting.choices), list(setting.values), key=key, persist_state="session",
                                help="Each is a run, or a row of runs.", wrap=True)  # fmt: skip
        return [setting.choices[name] for name in picked]
    text = st.text_input(
        label, sweep_settings.values_text(setting.values), key=key, persist_state="session",
        help=f"Numbers with commas between them. A sweep has at most {MAX_RUNS} runs.",
    )  # fmt: skip
    return sweep_settings.parse_values(setting, text)


def _rule(draft: dict[str, Any], metric: Metric) -> dict[str, Any]:
    """The fields for when a run stops, and when all do."""
    name, unit = plain(metric.name), 100.0 if metric.percent else 1.0
    left, right = st.columns(2, vertical_alignment="bottom")
    behind = left.number_input(
        "Stop a run that is behind by" + (", percentage points" if metric.percent else ""), 0.0, None,
        unit * BEHIND if metric.percent else 0.0, unit * 0.005, format="%g", key=f"sweep_behind_{metric.percent}",
        persist_state="session",
        help=f"Compares the validation {name} after retraining with the best run of the same seed that is of the same "
        "size or smaller. Differences below two standard errors never count. 0 stops none.",
    )  # fmt: skip
    smaller = right.number_input(
        "Target size, times smaller", 1.01, 1e6, None, 0.5, key="sweep_smaller", persist_state="session",
        placeholder="none", help="All runs stop once one of them is this small and reaches the value below.",
    )  # fmt: skip
    rule: dict[str, Any] = {"stop_behind": behind / unit}
    if smaller is None:
        return rule
    value = right.number_input(
        f"Target {name}" + (", 0 to 1" if metric.percent else ""), None, None, None, 0.005, format="%g",
        key="sweep_value", persist_state="session", placeholder="none",
        help=f"The validation {name} after retraining that a run has to reach at this size.",
    )  # fmt: skip
    if value is None:
        st.caption(f"The target also needs a value of {name}. Without one, there is no target.")
        return rule
    return {**rule, "target": {"accuracy" if is_classification(draft) else "limit": value, "smaller": smaller}}


def _epochs(job: Job) -> int:
    asked = job.spec
    base = 0 if job.parent is not None else asked.base_epochs + asked.convert_epochs
    return (base + asked.retrain_epochs) * (2 if asked.control.scratch else 1)


def _sharing(bases: int, trains: bool) -> str:
    if bases:
        return f"The runs share {counted(bases, 'base network')}, trained before them."
    return "Each run trains its own base network." if trains else "All runs start from the same weights."
