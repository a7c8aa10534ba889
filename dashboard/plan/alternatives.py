"""Run the same plan with other criteria, each as a separate run, for comparison."""

from collections.abc import Iterable
from typing import Any

import streamlit as st

from dashboard.plan.metric import is_classification
from dashboard.plan.origin import StartPoint
from dashboard.session import drafts
from dashboard.widgets import criteria

MAX_NAME = 80  # characters of a run's name


def choose_criteria(draft: dict[str, Any], start: StartPoint | None) -> list[str]:
    """The choice of further criteria. The draft's plan is also run with each of them, as a separate run."""
    known = criteria.NAMES if is_classification(draft) else [name for name in criteria.NAMES if name != "taylor"]
    options = [name for name in known if _ranked(draft["step"], name) != draft["step"]]
    if not options:
        return []
    own = sorted({step["criterion"] for step in draft["step"]})
    absolute = any("absolute" in (step["rule"], *(rule["rule"] for rule in step["layer"].values()))
                   for step in draft["step"])  # fmt: skip
    picked = st.multiselect(
        "Also run this plan with", options, format_func=criteria.NAMES.__getitem__, disabled=absolute,
        placeholder="no other criterion", key=f"others_{'_'.join(own)}", persist_state="session", wrap=True,
        help=f"Launches one more run per criterion, for comparison with the plan's own criterion.\n{criteria.HELP}",
    )  # fmt: skip
    if absolute:
        st.caption("The rule 'absolute' compares APoZ with a threshold, so it works only with APoZ.")
        return []
    if picked:
        same = "All runs start from the same weights."
        if start is None and drafts.trains_base(draft):
            same = "Each run trains its own base network. These are identical, because the seed is the same."
        st.caption(f"{same} The runs are executed one after another. Compare shows them side by side.")
    return picked


def with_criteria(values: dict[str, Any], names: Iterable[str]) -> list[dict[str, Any]]:
    """One spec per criterion, named after it. Every step that can use the criterion does; nothing else changes."""
    return [
        {
            **values, "name": _named(values["name"] or values["model"], f" by {criteria.NAMES[name]}"),
            "step": _ranked(values["step"], name),
        }
        for name in names
    ]  # fmt: skip


def _ranked(steps: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [{**step, "criterion": name} if name in criteria.criteria_for(step["rule"]) else step for step in steps]


def _named(name: str, ending: str) -> str:
    return name[: MAX_NAME - len(ending)] + ending
