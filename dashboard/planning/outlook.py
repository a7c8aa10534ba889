"""What would come of a plan: sizes and widths on paper, the spec to launch, and the time it will take."""

import streamlit as st

from dashboard import criteria, rules, work
from dashboard.planning.beginning import is_converted
from trimcore import tables
from trimcore.compute.threads import one_thread
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.planning.preview import Seen, Stage, preview
from trimcore.spec import WEIGHT_RULES, Step, parse

GUESSED = ("mean+std", "absolute", "smaller")  # rules that leave widths which the scores decide


def guessed(draft: dict) -> list[str]:
    """Criteria whose scores are not known before the run, though a rule of theirs goes by the scores."""
    others = {step["criterion"] for step in draft["step"] if is_estimate(step)} - {"apoz"}
    return sorted(criteria.LABELS[name] for name in others)


def is_estimate(step: dict) -> bool:
    """Whether what the step removes depends on scores that retraining changes."""
    return step["rule"] in GUESSED or any(own["rule"] in GUESSED for own in step["layer"].values())


def stages(draft: dict, graph: ChannelGraph, seen: dict[str, Seen] | None) -> list[Stage]:
    """The plan carried out on paper. Raises SpecError for a plan that the spec would refuse."""
    if seen is None:  # every neuron alike: rules that count are exact all the same
        seen = {n: Seen([0.0] * graph.layers[n].width, range(graph.layers[n].width)) for n in graph.trimmable()}
    steps = parse({"step": draft["step"]}).step
    widths = sum(layer.width for layer in graph.layers.values())
    network = (str([draft[key] for key in work.NETWORK]), tuple(graph.units.items()), widths)
    profile = hash(tuple((name, tuple(layer.apoz), tuple(layer.original)) for name, layer in seen.items()))
    return _stages(network, profile, tuple(step.model_dump_json() for step in steps), graph, seen, steps)


@st.cache_data(max_entries=32, show_spinner="Carrying out the plan on paper…")
def _stages(
    network: tuple, profile: int, asked: tuple[str, ...],
    _graph: ChannelGraph, _seen: dict[str, Seen], _steps: list[Step],
) -> list[Stage]:  # fmt: skip
    """Large networks take seconds; most edits on the page do not touch the steps."""
    with one_thread():
        return preview(_graph, _seen, _steps)


def removed(stage: Stage, before: Stage, steps: list[dict]) -> str:
    """What an iteration of the plan takes, in words."""
    step = steps[stage.step]
    if step["rule"] not in WEIGHT_RULES:
        return tables.cuts_text(stage.cut, before.k, stage.k)
    if stage.zeros is None:
        return f"weights: {rules.called(step['rule'])}"
    return f"weights: {stage.zeros:,} zero"


def nonzero(stage: Stage) -> int | None:
    """The parameters that are not held at zero; None where that depends on the weights."""
    return None if stage.zeros is None else stage.cost.parameters - stage.zeros


def asked(draft: dict, begin: tuple[str, int] | None) -> dict:
    """The spec's values as the page stands."""
    values = {key: value for key, value in draft.items() if key != "parent"}
    if is_converted(begin):
        values["convert"] = {**values["convert"], "to": ""}
    return values if begin is None else {**values, "parent": {"run": begin[0], "iteration": begin[1]}}


def seconds_for(values: dict) -> float | None:
    """About how long the run will take, from epochs that were timed here."""
    seconds = work.epoch_seconds(values)
    if seconds is None:
        return None
    wanted = parse(values)
    epochs = wanted.base_epochs + wanted.convert_epochs + wanted.retrain_epochs
    return seconds * epochs * (2 if values["control"]["scratch"] else 1)
