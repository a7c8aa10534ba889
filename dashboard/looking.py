"""A run's network and data in the page's own process, on the CPU, to look at; and what a look finds, kept.

A run never notices that it is looked at. Everything is loaded, and measured, only when somebody asks for it.
"""

from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass

import streamlit as st

from dashboard import store, work
from trimcore import runs, tables
from trimcore.data import Data
from trimcore.errors import CheckpointError, DataError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import cost_of
from trimcore.training import prepare

FEW = 500  # images: enough for a first look
CHOICES = (FEW, 2_000)
QUICK = 10.0  # seconds: a look that takes longer waits for a button
MOST = {"neuron": 64, "maps": 32, "zeros": 3, "confusion": 16}  # finds kept of each kind; zeros are as many as neurons


@dataclass(frozen=True)
class Subject:
    """What is looked at. `mark` tells it from any other, and from itself after its file has changed; `pace` is a guess
    at the seconds that an image takes to pass through the network."""

    graph: ChannelGraph
    data: Data
    tolerance: float
    mark: tuple
    pace: float


def subject(run_id: str, iteration: int) -> Subject:
    """An iteration's network with the run's data. Raises TrimError, in one line, where either is gone or damaged, where
    they no longer fit, or where code of the user's would have to be imported."""
    asked, path = store.spec_of(run_id), _path(run_id, iteration)
    graph, arguments = _network(str(path), changed := _changed(path, iteration))
    found = data(run_id)
    now = {"num_classes": found.num_classes, "in_channels": found.channels, "image_size": found.image_size}
    if other := [key for key, value in now.items() if arguments[key] != value]:
        was = f"{now[other[0]]}, not {arguments[other[0]]}"
        raise DataError(f"{found.name} has changed since the run: {other[0].replace('_', ' ')} is {was}")
    return Subject(graph, found, asked.profile.tolerance, (str(path), changed), _pace(run_id, iteration, graph))


def network(run_id: str, iteration: int) -> ChannelGraph:
    """The channel graph of an iteration's network; its `model` is in evaluation mode. Raises TrimError."""
    path = _path(run_id, iteration)
    return _network(str(path), _changed(path, iteration))[0]


def data(run_id: str) -> Data:
    """What the run was trained on. Raises TrimError."""
    asked = store.spec_of(run_id)
    return _data((asked.model, asked.data, asked.image_size, asked.channels, asked.seed), asked)


def images_choice(total: int, begin: int, key: str) -> int:
    """How many images to look at, 0 for all, as a choice where there are many."""
    options = [n for n in CHOICES if n < total] + [0]
    if len(options) == 1:
        return 0
    return st.segmented_control(
        "Images", options, default=begin if begin in options else 0, required=True, key=key, persist_state="session",
        format_func=lambda n: f"{n:,}" if n else f"all {total:,}", help="Of the validation split, from its beginning.",
    )  # fmt: skip


def look(
    kind: str, key: Hashable, find: Callable[[], Generator[int, None, object]], total: int, seconds: float, what: str
):
    """What `find()` returns in the end; it yields how many of `total` images are done. Kept under `kind` and `key`.

    A progress bar tells `what` is done. A look that would take long waits for a button: None until it was pressed.
    Raises what `find` raises.
    """
    shelf = _shelf(kind)
    found = shelf.pop(key, None)
    if found is None:
        about = f"{what}, about {work.in_words(seconds)}"
        asked = f"look_{kind}_{hash(key)}"
        if seconds > QUICK and not st.button(f"Look at it: {about}", key=asked, icon=":material/search:"):
            return None
        found = _with_bar(find(), total, about)
    shelf[key] = found  # the last one used stands last
    while len(shelf) > MOST[kind]:
        shelf.pop(next(iter(shelf)), None)
    return found


def _with_bar(steps: Generator[int, None, object], total: int, about: str):
    text, place = f"{about[0].upper()}{about[1:]}…", st.empty()
    place.progress(0.0, text)
    try:
        while True:
            place.progress(min(1.0, next(steps) / max(total, 1)), text)
    except StopIteration as end:
        return end.value
    finally:
        steps.close()
        place.empty()


def _path(run_id: str, iteration: int):
    return runs.checkpoint_path(runs.open_run(store.folder(), run_id), iteration)


def _pace(run_id: str, iteration: int, graph: ChannelGraph) -> float:
    """As the run's own profile took, and not less than a CPU would: the run may have had a GPU."""
    seen = tables.latest(store.events(run_id), "profiled").get(iteration)
    taken = seen["seconds"] / max(1, seen["examples"]) if seen else 0.0
    return max(taken, cost_of(graph).macs / work.MACS_PER_SECOND["cpu"])


def _changed(path, iteration: int) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        raise CheckpointError(f"the run folder has no weights of iteration {iteration} ({path.name})") from None


@st.cache_resource(max_entries=6, show_spinner="Reading the network…")
def _network(path: str, changed: int) -> tuple[ChannelGraph, dict[str, int]]:
    found, graph = prepare.open_network(path)
    return graph, found.arguments


@st.cache_resource(max_entries=2, show_spinner="Reading the data…")
def _data(key: tuple, _asked) -> Data:
    return prepare.data_for(_asked)


@st.cache_resource(show_spinner=False)
def _shelf(kind: str) -> dict:
    return {}
