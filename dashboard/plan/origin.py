"""The starting point of a plan, a new network or an iteration of a run, and the profile for the preview."""

from typing import Any

import streamlit as st

from dashboard.session import drafts, navigation, run_reader
from trimcore import tables
from trimcore.planning.preview import Seen

StartPoint = tuple[str, int]  # a run and one of its iterations


def choose_start(draft: dict[str, Any]) -> StartPoint | None:
    """The (run, iteration) to branch from, or None for the weights chosen on Model."""
    options: list[StartPoint | None] = [None]
    run_id = navigation.selected_run()
    if run_id and drafts.run_matches(run_id, draft):
        iterations = sorted(tables.latest(run_reader.events(run_id), "iteration"))
        branches: list[StartPoint | None] = [(run_id, k) for k in iterations]
        base = run_reader.spec_of(run_id).base
        same_base = (base.weights, base.head) == (draft["base"]["weights"], draft["base"]["head"])
        options = branches + options if same_base else options + branches
    key = f"begin_{run_id}_{len(options)}_{options[0] is None}"
    wanted = st.session_state.pop("begin_at", None)  # set by the run tree
    if wanted and wanted in options:
        st.session_state[key] = wanted
    fresh = {"": "a new base network", "pretrained": "the pretrained weights"}.get(
        draft["base"]["weights"], "the checkpoint file")  # fmt: skip
    start = st.selectbox(
        "Start from", options, key=key, persist_state="session",
        format_func=lambda o: fresh if o is None else f"iteration {o[1]} of {run_reader.title(o[0])}",
        help="A run can start from any iteration of the selected run. It uses the trained weights of that iteration.",
    )  # fmt: skip
    if run_id and options == [None] and drafts.run_matches(run_id, draft) and run_reader.status(run_id).active:
        _wait_for_base(run_id)
    return start if start in options else options[0]  # the label has changed since the browser received it


@st.fragment(run_every=1.0)
def _wait_for_base(run_id: str) -> None:
    """Offer the base network of the selected run as soon as it is there."""
    if tables.latest(run_reader.events(run_id), "iteration"):
        st.rerun()
    st.caption("The selected run is not done with its base network. It becomes the starting point here once it is.")


def _base_profile(draft: dict[str, Any]) -> str | None:
    """The selected run, if its iteration 0 is the network that the draft would start from."""
    run_id = navigation.selected_run()
    if run_id is None or not drafts.run_matches(run_id, draft):
        return None
    asked = run_reader.spec_of(run_id)
    mine = (draft["base"]["weights"], draft["base"]["head"], _conversion(draft["convert"]))
    same = (asked.base.weights, asked.base.head, _conversion(asked.convert.model_dump())) == mine
    return run_id if asked.parent is None and same else None


def _conversion(convert: dict[str, Any]) -> tuple[Any, ...]:
    return (convert["to"], convert["k"], tuple(convert["layers"])) if convert["to"] == "maxout" else (convert["to"],)


def profile_for_plan(draft: dict[str, Any], start: StartPoint | None) -> dict[str, Seen] | None:
    """The profile for the preview: of the starting point, else of the selected run's base if it is the same network."""
    run_id, iteration = start or (_base_profile(draft), 0)
    if run_id is None:
        return None
    found = tables.latest(run_reader.events(run_id), "profiled").get(iteration)
    return found and {name: Seen(layer["apoz"], layer["original"]) for name, layer in found["layers"].items()}


def is_converted(start: StartPoint | None) -> bool:
    """Whether the activations of the starting iteration were converted to ReLU, or it has maxout units."""
    event = iteration_event(start)
    return event.get("activations") == "relu" or bool(event.get("k"))


def iteration_event(start: StartPoint | None) -> dict[str, Any]:
    """The recorded event of the starting iteration; empty without one."""
    return tables.latest(run_reader.events(start[0]), "iteration")[start[1]] if start else {}
