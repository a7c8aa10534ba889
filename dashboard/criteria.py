"""The criteria that rank neurons, as people read them; and the same plan ranked by others, to set against it."""

from collections.abc import Iterable

import streamlit as st

from dashboard import glossary
from trimcore.spec import IN_UNITS, WEIGHT_RULES, Spec

NAMES = {
    "apoz": "APoZ", "l1": "L1", "l2": "L2", "mean-activation": "mean activation", "taylor": "Taylor",
    "random": "random", "relevance": "relevance", "magnitude": "magnitude",
}  # fmt: skip
LABELS = {
    "apoz": "APoZ (the paper's)", "l1": "L1 norm of incoming weights", "l2": "L2 norm of incoming weights",
    "mean-activation": "mean activation", "taylor": "Taylor: loss without it", "random": "random (the control)",
    "relevance": "relevance: how often it is its unit's maximum", "magnitude": "magnitude of the weights",
}  # fmt: skip
HELP = glossary.listed("APoZ", "L1", "L2", "mean activation", "Taylor", "random")
HELP_IN_UNITS = glossary.listed("relevance", "L1", "L2", "random")
LONGEST_NAME = 80  # of a run


def fitting(rule: str) -> list[str]:
    """The criteria that a rule can go by, its own first."""
    if rule in WEIGHT_RULES:
        return ["magnitude"]
    if rule == "maxout":
        return list(IN_UNITS)
    return [name for name in NAMES if name not in ("relevance", "magnitude")]


def ranking(asked: Spec) -> str:
    """By what the steps of a spec rank, in words; "" without a step."""
    return ", ".join(dict.fromkeys(NAMES[step.criterion] for step in asked.step))


def choose_others(draft: dict, begin: tuple[str, int] | None) -> list[str]:
    """A choice of criteria to run the plan of the draft with too, each as a run of its own."""
    options = [name for name in NAMES if _ranked(draft["step"], name) != draft["step"]]
    if not options:
        return []
    own = sorted({step["criterion"] for step in draft["step"]})
    absolute = any("absolute" in (step["rule"], *(rule["rule"] for rule in step["layer"].values()))
                   for step in draft["step"])  # fmt: skip
    picked = st.multiselect(
        "Also run this plan ranked by", options, format_func=NAMES.get, disabled=absolute, placeholder="nothing else",
        key=f"others_{'_'.join(own)}", persist_state="session", wrap=True,
        help=f"One run more for each, to see whether the plan's own criterion earns its place.\n{HELP}",
    )  # fmt: skip
    if absolute:
        st.caption("The rule 'absolute' compares APoZ itself, so a step with it cannot be ranked by anything else.")
        return []
    if picked:
        same = "begins with the same weights"
        if begin is None and draft["base"]["weights"] in ("", "pretrained"):
            same = "trains its own base network, the same one, because the seed is the same"
        st.caption(f"Each {same}. The runs wait for each other; Compare sets them side by side.")
    return picked


def ranked_by(values: dict, names: Iterable[str]) -> list[dict]:
    """The same spec once for each criterion, named after it: every step that can ranks by it, all else is as it was."""
    return [
        {
            **values, "name": _named(values["name"] or values["model"], f" by {NAMES[name]}"),
            "step": _ranked(values["step"], name),
        }
        for name in names
    ]  # fmt: skip


def _ranked(steps: list[dict], name: str) -> list[dict]:
    return [{**step, "criterion": name} if name in fitting(step["rule"]) else step for step in steps]


def _named(name: str, ending: str) -> str:
    return name[: LONGEST_NAME - len(ending)] + ending
