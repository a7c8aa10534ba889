"""The preview of a plan: sizes and widths without running it, the spec to launch, and the expected time."""

from typing import Any

import streamlit as st

from dashboard.plan.origin import StartPoint, is_converted
from dashboard.session import devices, drafts
from dashboard.widgets import criteria, rules
from trimcore import tables
from trimcore.compute.threads import one_thread
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.planning.preview import Seen, Stage, preview
from trimcore.spec import WEIGHT_RULES, Step, parse

SCORE_RULES = ("mean+std", "absolute", "smaller")  # rules whose resulting widths depend on the scores


def unknown_criteria(draft: dict[str, Any]) -> list[str]:
    """The criteria whose scores are unknown before the run although a rule depends on them."""
    others = {step["criterion"] for step in draft["step"] if is_estimate(step)} - {"apoz"}
    return sorted(criteria.LABELS[name] for name in others)


def is_estimate(step: dict[str, Any]) -> bool:
    """Whether what the step removes depends on scores that retraining changes."""
    return step["rule"] in SCORE_RULES or any(own["rule"] in SCORE_RULES for own in step["layer"].values())


def stages(draft: dict[str, Any], graph: ChannelGraph, seen: dict[str, Seen] | None) -> list[Stage]:
    """The plan, applied without real surgery. Raises SpecError for a plan that the spec would reject."""
    if seen is None:  # equal scores for all neurons; rules that remove a given number are still exact
        seen = {n: Seen([0.0] * graph.layers[n].width, range(graph.layers[n].width)) for n in graph.trimmable()}
    steps = parse({"step": draft["step"]}).step
    widths = sum(layer.width for layer in graph.layers.values())
    network = (str([draft[key] for key in (*drafts.NETWORK, *drafts.REMOVABLE)]), tuple(graph.units.items()), widths)
    profile = hash(tuple((name, tuple(layer.apoz), tuple(layer.original)) for name, layer in seen.items()))
    return _stages(network, profile, tuple(step.model_dump_json() for step in steps), graph, seen, steps)


@st.cache_data(max_entries=32, show_spinner="Previewing the plan…")
def _stages(
    network: tuple[Any, ...], profile: int, asked: tuple[str, ...],
    _graph: ChannelGraph, _seen: dict[str, Seen], _steps: list[Step],
) -> list[Stage]:  # fmt: skip
    """Cached, because large networks take seconds and most edits on the page do not affect the steps."""
    with one_thread():
        return preview(_graph, _seen, _steps)


def removed(stage: Stage, before: Stage, steps: list[dict[str, Any]]) -> str:
    """What an iteration of the plan removes, as text."""
    step = steps[stage.step]
    if step["rule"] not in WEIGHT_RULES:
        return tables.cuts_text(stage.cut, before.k, stage.k, stage.heads)
    if stage.zeros is None:
        return f"weights: {rules.label(step['rule'])}"
    return f"weights: {stage.zeros:,} zero"


def nonzero(stage: Stage) -> int | None:
    """The number of non-zero parameters; None if it depends on the weights."""
    return None if stage.zeros is None else stage.cost.parameters - stage.zeros


def spec_values(draft: dict[str, Any], start: StartPoint | None) -> dict[str, Any]:
    """The values of the spec that the page would launch."""
    values = {key: value for key, value in draft.items() if key != "parent"}
    if is_converted(start):
        values["convert"] = {**values["convert"], "to": ""}
    return values if start is None else {**values, "parent": {"run": start[0], "iteration": start[1]}}


def seconds_for(values: dict[str, Any]) -> float | None:
    """The approximate time of the run, from epochs timed on this machine; None if there are none."""
    seconds = devices.epoch_seconds(values)
    if seconds is None:
        return None
    wanted = parse(values)
    epochs = wanted.base_epochs + wanted.convert_epochs + wanted.retrain_epochs
    return seconds * epochs * (2 if values["control"]["scratch"] else 1)
