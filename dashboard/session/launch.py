"""Launch a draft as a run."""

import copy
from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard.session import messages, navigation, run_reader
from trimcore import spec
from trimcore.errors import TrimError
from trimcore.jobs import control, sweeps


def start(values: dict[str, Any], page: str = "run", others: Sequence[dict[str, Any]] = ()) -> None:
    """Launch a draft, select the run and open `page`. An error becomes a notice. `others` are launched after it.

    Call it in the script, after the fields above the button have written the draft. A callback would run before an edit
    that was sent together with the click.
    """
    try:
        first, *rest = [spec.parse(one) for one in (values, *others)]  # an error in one spec starts none of them
        st.session_state.run = control.launch(first, run_reader.folder())
        navigation.go_to(page)
        for other in rest:
            control.launch(other, run_reader.folder())
    except TrimError as error:
        messages.notice(str(error))
    st.rerun()


def start_sweep(values: dict[str, Any]) -> None:
    """Launch all runs of a draft with a sweep, and open the page that shows them. An error becomes a notice."""
    try:
        with st.spinner("Launching the runs…"):
            st.session_state.sweep_shown = sweeps.launch(values, run_reader.folder())
        navigation.go_to("compare")
    except TrimError as error:
        messages.notice(str(error))
    st.rerun()


def base_only(values: dict[str, Any]) -> dict[str, Any]:
    """The draft without its steps: it only trains and profiles the base network."""
    return {**copy.deepcopy(values), "step": [], "control": {"scratch": False}}
