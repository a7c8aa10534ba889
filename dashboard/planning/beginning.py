"""Where a plan begins: the network at hand, an iteration of a run, and the profile to go by."""

import streamlit as st

from dashboard import store, work
from trimcore import tables
from trimcore.errors import TrimError
from trimcore.planning.preview import Seen


def choose_beginning(draft: dict) -> tuple[str, int] | None:
    """(run, iteration) to branch from, or None for the weights that were chosen on Model."""
    options: list[tuple[str, int] | None] = [None]
    run_id = work.selected_run()
    if run_id and same_network(run_id, draft):
        branches = [(run_id, k) for k in sorted(tables.latest(store.events(run_id), "iteration"))]
        same_base = store.spec_of(run_id).base.weights == draft["base"]["weights"]
        options = branches + options if same_base else options + branches
    key = f"begin_{run_id}_{len(options)}_{options[0] is None}"
    wanted = st.session_state.pop("begin_at", None)  # by the tree of runs
    if wanted and wanted in options:
        st.session_state[key] = wanted
    fresh = {"": "a new base network", "pretrained": "the pretrained weights"}.get(
        draft["base"]["weights"], "the checkpoint file")  # fmt: skip
    begin = st.selectbox(
        "Begin from", options, key=key, persist_state="session",
        format_func=lambda o: fresh if o is None else f"iteration {o[1]} of {store.title(o[0])}",
        help="A run can go on from any iteration of the selected run: its weights are kept, nothing is trained twice.",
    )  # fmt: skip
    return begin if begin in options else options[0]  # its label has changed since the browser got it


def same_network(run_id: str, draft: dict) -> bool:
    """Whether the run is of the network and data of the draft."""
    try:
        asked = store.spec_of(run_id)
    except TrimError:
        return False
    return work.same_network(asked.model_dump(), draft)


def adopt(run_id: str) -> None:
    """Make the run's network and data the work at hand; for a button's callback."""
    asked = store.spec_of(run_id)
    kept = asked.model_dump(exclude_none=True, include={
        "image_size", "channels", "options", "device", "base", "convert", "profile", "retrain", "distill", "verify",
        "seed",
    })  # fmt: skip
    work.replace_draft({**work.draft_for(asked.model, asked.data), **kept})


def _base_profile(draft: dict) -> str | None:
    """The selected run, if its iteration 0 is what the draft would begin with."""
    run_id = work.selected_run()
    if run_id is None or not same_network(run_id, draft):
        return None
    asked = store.spec_of(run_id)
    mine = (draft["base"]["weights"], _conversion(draft["convert"]))
    same = (asked.base.weights, _conversion(asked.convert.model_dump())) == mine
    return run_id if asked.parent is None and same else None


def _conversion(convert: dict) -> tuple:
    return (convert["to"], convert["k"], tuple(convert["layers"])) if convert["to"] == "maxout" else (convert["to"],)


def profile_to_plan_with(draft: dict, begin: tuple[str, int] | None) -> dict[str, Seen] | None:
    """The profile that the preview goes by: of the beginning, else of the selected run's base if it is the same net."""
    run_id, iteration = begin or (_base_profile(draft), 0)
    if run_id is None:
        return None
    found = tables.latest(store.events(run_id), "profiled").get(iteration)
    return found and {name: Seen(layer["apoz"], layer["original"]) for name, layer in found["layers"].items()}


def is_converted(begin: tuple[str, int] | None) -> bool:
    """Whether the iteration to begin from has had its activations turned into ReLU, or has maxout units."""
    row = row_of(begin)
    return row.get("activations") == "relu" or bool(row.get("k"))


def row_of(begin: tuple[str, int] | None) -> dict:
    """What the run recorded of the iteration to begin from; nothing for other weights."""
    return tables.latest(store.events(begin[0]), "iteration")[begin[1]] if begin else {}
