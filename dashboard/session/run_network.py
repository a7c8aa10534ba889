"""A run's network and data, loaded on the CPU in the dashboard's process for inspection.

Inspection does not affect the run. Everything is loaded only on demand.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.session import devices, run_reader
from trimcore import runs, tables
from trimcore.data import Data
from trimcore.errors import CheckpointError, DataError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import cost_of
from trimcore.spec import Spec
from trimcore.spec.spec import AGREEMENT
from trimcore.tasks import Task, task_for
from trimcore.training import prepare

QUICK_IMAGES = 500  # enough for a first result


@dataclass(frozen=True)
class Subject:
    """A network to inspect, with its data. `key` identifies it, and changes when its checkpoint changes.
    `seconds_per_image` is an estimate of the time of a forward pass."""

    graph: ChannelGraph
    data: Data
    task: Task
    tolerance: float
    key: tuple[Any, ...]
    seconds_per_image: float


def subject(run_id: str, iteration: int) -> Subject:
    """An iteration's network with the run's data. Raises TrimError if either is missing or damaged, if they no longer
    fit together, or if user code would have to be imported."""
    asked, path = run_reader.spec_of(run_id), _path(run_id, iteration)
    graph, arguments = _network(str(path), changed := _changed(path, iteration), asked)
    found = data(run_id)
    now = {"num_classes": found.num_classes, "in_channels": found.channels, "image_size": found.image_size}
    if other := [key for key, value in now.items() if arguments[key] != value]:
        values = f"{now[other[0]]}, not {arguments[other[0]]}"
        raise DataError(f"{found.name} has changed since the run: {other[0].replace('_', ' ')} is now {values}")
    seconds = _seconds_per_image(run_id, iteration, graph)
    task = task_for(asked.task)
    task.outputs = found.num_classes
    return Subject(graph, found, task, asked.profile.tolerance, (str(path), changed), seconds)


def network(run_id: str, iteration: int) -> ChannelGraph:
    """The channel graph of an iteration's network; its `model` is in evaluation mode. Raises TrimError."""
    path = _path(run_id, iteration)
    return _network(str(path), _changed(path, iteration), run_reader.spec_of(run_id))[0]


def data(run_id: str) -> Data:
    """The data that the run was trained on. Raises TrimError."""
    asked = run_reader.spec_of(run_id)
    run = runs.open_run(run_reader.folder(), run_id)
    key = (asked.model, asked.data, asked.image_size, asked.channels, asked.resize, asked.seed, asked.task)
    return _data((*key, str(run) if asked.task == AGREEMENT else ""), run, asked)


def _path(run_id: str, iteration: int) -> Path:
    return runs.checkpoint_of(run_reader.folder(), run_id, iteration)


def _seconds_per_image(run_id: str, iteration: int, graph: ChannelGraph) -> float:
    """The time that the run's own profile took, but at least the estimate for a CPU: the run may have used a GPU."""
    seen = tables.latest(run_reader.events(run_id), "profiled").get(iteration)
    taken = seen["seconds"] / max(1, seen["examples"]) if seen else 0.0
    return max(taken, cost_of(graph).macs / devices.MACS_PER_SECOND["cpu"])


def _changed(path: Path, iteration: int) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        raise CheckpointError(f"the run folder has no checkpoint of iteration {iteration} ({path.name})") from None


@st.cache_resource(max_entries=6, show_spinner="Loading the network…")
def _network(path: str, changed: int, _asked: Spec) -> tuple[ChannelGraph, dict[str, int]]:
    found, graph = prepare.open_network(path, removable=_asked.removable)
    return graph, found.arguments


@st.cache_resource(max_entries=2, show_spinner="Loading the data…")
def _data(key: tuple[Any, ...], _run: Path, _asked: Spec) -> Data:
    return prepare.data_of_run(_run, _asked)
