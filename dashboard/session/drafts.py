"""The draft: what the user has chosen on the pages before it becomes a run. It lives in the browser session.

A draft is a plain dict with the keys of a spec. `spec.parse` checks exactly what a page has written.
"""

import copy
from typing import Any

import streamlit as st

from dashboard.session import run_reader
from trimcore import data, models
from trimcore.errors import TrimError
from trimcore.spec import Convert, presets
from trimcore.spec.spec import AGREEMENT, CLASSIFICATION, FOR_CLASSES
from trimcore.spec.training import ADAMW_LR

NETWORK = ("model", "data", "image_size", "channels", "options")  # the keys of a spec that define a network
OWN_BATCH, OWN_EPOCHS = 16, 4  # training examples in a batch, and epochs after each cut, of other tasks
REMOVABLE = ("whole_heads", "embeddings")  # and what can be removed from it


def draft() -> dict[str, Any]:
    """The current draft, to be modified in place."""
    if "draft" not in st.session_state:
        st.session_state.draft = draft_for("lenet5", "mnist-5k")
    found: dict[str, Any] = st.session_state.draft
    return found


def draft_for(model: str, data_name: str) -> dict[str, Any]:
    """A new draft: the model's default preset on the given data."""
    preset = presets.default_for(model).model_dump(exclude_none=True)
    return for_data({**preset, "name": ""}, data_name)


def for_data(values: dict[str, Any], data_name: str) -> dict[str, Any]:
    """The draft on other data, for the task that these are for. Data of the user's own have no images to augment, and
    only a classification has the settings that mix or weigh classes."""
    values = copy.deepcopy(values) | {"data": data_name, "task": data.task_of(data_name)}
    values["stop"].pop("limit", None)  # it is a value of the other data's metric
    if data.is_own(data_name) or values["task"] != CLASSIFICATION:
        unused = FOR_CLASSES if values["task"] != CLASSIFICATION else {"augment": "none"}
        for section in ("base", "convert", "retrain"):
            values[section].update(unused)
        for step in values["step"]:
            for key in unused:
                (step.get("retrain") or {}).pop(key, None)
    if values["task"] not in (CLASSIFICATION, AGREEMENT):  # the presets are for small images of digits
        for section in ("base", "retrain"):
            values[section].update(optimizer="adamw", lr=ADAMW_LR, batch_size=OWN_BATCH)
        values["retrain"]["epochs"] = max(values["retrain"]["epochs"], OWN_EPOCHS)
    if values["task"] != CLASSIFICATION:
        taught = values["task"] == AGREEMENT
        values["distill"]["weight"], values["verify"]["pairs"], values["stop"]["min_accuracy"] = float(taught), "", 0.0
        if taught:  # only the network that the run starts from says what is right
            values |= {"convert": Convert().model_dump(), "control": {"scratch": False}}
            values["base"]["epochs"] = 0
    return values


def trains_base(values: dict[str, Any]) -> bool:
    """Whether a draft trains its base network before the first profile, unless it is a branch."""
    return values["base"]["weights"] in ("", "pretrained") or bool(values["base"]["head"])


def replace_draft(values: dict[str, Any]) -> None:
    """Start another draft and reset all fields to it."""
    st.session_state.draft = values
    st.session_state.draft_number = st.session_state.get("draft_number", 0) + 1


def same_network(values: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether two drafts or specs describe the same network on the same data, of which the same can be removed."""
    return _network(values) == _network(others)


def _network(values: dict[str, Any]) -> list[Any]:
    """The values that define the network. Missing options have their defaults."""
    entry = models.REGISTRY.get(values["model"])
    options = entry.options_for(values["options"]) if entry else dict(values["options"])
    return [*(values[key] for key in (*NETWORK[:-1], *REMOVABLE, "resize", "task")), options]


def run_matches(run_id: str, draft: dict[str, Any]) -> bool:
    """Whether the run has the network and data of the draft."""
    try:
        asked = run_reader.spec_of(run_id)
    except TrimError:
        return False
    return same_network(asked.model_dump(), draft)


def adopt(run_id: str) -> None:
    """Start a draft for the run's network and data; for a button's callback."""
    asked = run_reader.spec_of(run_id)
    kept = asked.model_dump(exclude_none=True, include={
        "image_size", "channels", "options", "device", "base", "convert", "profile", "retrain", "distill", "verify",
        "log", "seed", "resize", "task", *REMOVABLE,
    })  # fmt: skip
    replace_draft({**draft_for(asked.model, asked.data), **kept})
