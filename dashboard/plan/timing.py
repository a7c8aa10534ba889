"""The time of the starting network and of plans for it, on the device of the draft. The server's process measures."""

from typing import Any

import streamlit as st

from dashboard.plan import measurement
from dashboard.plan.origin import StartPoint
from dashboard.session import run_network, run_reader
from trimcore import runs
from trimcore.compute.device import resolve
from trimcore.compute.inputs import moved
from trimcore.timing.prediction import TimeModel
from trimcore.timing.width_tables import FOLDER
from trimcore.training.prepare import open_network

MOST_MODELS = 4


def time_model(draft: dict[str, Any], start: StartPoint, batch: int) -> TimeModel:
    """Measured on first use, which takes some seconds. Raises TrimError."""
    found = _model(_key(draft, start, batch), start, draft["device"], batch)
    measurement.cached(_key(draft, start, batch), lambda: found.base_ms)
    return found


@st.cache_resource(max_entries=MOST_MODELS, show_spinner=False)
def _model(key: tuple[Any, ...], start: StartPoint, device_name: str, batch: int) -> TimeModel:
    """`key` identifies the weights. Each model holds a network and a batch on the device, so few are kept."""
    folder, device = run_reader.folder(), resolve(device_name)
    path = runs.checkpoint_of(folder, *start)
    _, graph = open_network(path, device, run_reader.spec_of(start[0]).removable)
    example = moved(run_network.subject(*start).data.example_input, device)
    return TimeModel(graph, example, batch, folder / FOLDER)


def known_ms(draft: dict[str, Any], start: StartPoint, batches: tuple[int, ...]) -> dict[int, float]:
    """The milliseconds of the starting network by batch size, where they have been measured."""
    found = {batch: measurement.known.get(_key(draft, start, batch)) for batch in batches}
    return {batch: ms for batch, ms in found.items() if ms is not None}


def is_busy() -> bool:
    """Whether a run is training, so that times are too long."""
    return any(run_reader.status(run_id).active for run_id in run_reader.unfinished())


def _key(draft: dict[str, Any], start: StartPoint, batch: int) -> tuple[Any, ...]:
    return (*measurement.weights_key(start), "times", draft["device"], batch)
