"""The work at hand: what is chosen on the pages before it becomes a run. It lives in the browser's session.

The draft is a plain dict with the keys of a spec, so that what a page writes is what `spec.parse` checks.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from dashboard import glossary, store
from trimcore import data, models, spec
from trimcore.compute import device
from trimcore.errors import TrimError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.jobs import control
from trimcore.spec import presets
from trimcore.training import prepare

NETWORK = ("model", "data", "image_size", "channels", "options")  # the keys of a spec that make a network


def draft() -> dict:
    """The spec that is being written, to be changed in place."""
    if "draft" not in st.session_state:
        st.session_state.draft = draft_for("lenet5", "mnist-5k")
    return st.session_state.draft


def draft_for(model: str, data_name: str) -> dict:
    """A fresh draft: what the model's quick start does, on other data."""
    return {**presets.default_for(model).model_dump(exclude_none=True), "data": data_name, "name": ""}


def replace_draft(values: dict) -> None:
    """Begin another draft; all fields show it."""
    st.session_state.draft = values
    st.session_state.draft_number = st.session_state.get("draft_number", 0) + 1


def field(kind: Callable, label: str, holder: dict, name: str, *arguments, **settings):
    """A widget that shows `holder[name]` and writes it. `kind` is st.number_input or the like, of any container. What
    the glossary says of the label is its help, unless another is given.

    Its identity does not depend on the value: a widget whose default changes with each edit would lose every second.
    """
    key = f"field_{st.session_state.get('draft_number', 0)}_{settings.pop('group', '')}_{name}"
    if key not in st.session_state:  # first shown, or forgotten while another page was
        st.session_state[key] = holder[name]
    holder[name] = kind(label, *arguments, key=key, **{"help": glossary.about(label) or None, **settings})
    return holder[name]


def selected_run() -> str | None:
    return st.session_state.get("run")


def go_to(page: str) -> None:
    """Open a page; for callbacks of buttons."""
    st.session_state.go_to = page


def start(values: dict, page: str = "run", others: Sequence[dict] = ()) -> None:
    """Launch a draft, select the run and open `page`; a mistake becomes a notice. `others` are launched after it.

    Called where a button is found pressed, after the fields above it have written the draft; a callback would come
    before an edit that was sent together with the click.
    """
    try:
        first, *rest = [spec.parse(one) for one in (values, *others)]  # a mistake in one starts none of them
        st.session_state.run = control.launch(first, store.folder())
        go_to(page)
        for other in rest:
            control.launch(other, store.folder())
    except TrimError as error:
        notice(str(error))
    st.rerun()


def notice(text: str, kind: str = "error") -> None:
    """Say something at the top of the next page that is shown."""
    st.session_state.notice = (kind, text)


def attempt(action: Callable, *arguments) -> None:
    """Do something that may be a mistake of the user; for callbacks of buttons."""
    try:
        action(*arguments)
    except TrimError as error:
        notice(str(error))


def base_only(values: dict) -> dict:
    """The part of a draft that trains and profiles the base network and stops there."""
    return {**copy.deepcopy(values), "step": [], "control": {"scratch": False}}


@dataclass(frozen=True)
class DataSummary:
    """What the pages need of a data set: sizes of its splits and a few samples, uint8 (H, W) or (H, W, 3)."""

    classes: tuple[str, ...]
    channels: int
    image_size: int
    splits: dict[str, int]
    samples: list[tuple[np.ndarray, str]]
    skipped: tuple[str, ...]


@st.cache_resource(max_entries=8, show_spinner=False)
def data_summary(name: str) -> DataSummary:
    """Raises DataError, as `data.load` does."""
    loaded = data.load(name)
    samples = []
    for index in range(min(len(loaded.train), 12)):
        try:
            pixels = loaded.train.image(index).numpy()
        except TrimError:
            continue  # a damaged file; the run counts and names them
        picture = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        samples.append((picture, loaded.classes[int(loaded.train.labels[index])]))
    splits = {part: len(getattr(loaded, part)) for part in ("train", "validation", "test")}
    return DataSummary(loaded.classes, loaded.channels, loaded.image_size, splits, samples, loaded.skipped)


def arguments_for(
    model: str, data_name: str, image_size: int = 0, channels: int = 0, options: Mapping[str, int] | None = None
) -> dict[str, int]:
    """What a model would be built with for a data set; `image_size` and the rest as in a spec. Raises TrimError."""
    entry, found = models.architecture(model), data_summary(data_name)
    fitted = entry.channels_for(found.channels, channels), entry.size_for(found.image_size, image_size)
    return entry.arguments_for(len(found.classes), *fitted, options)


def arguments_of(values: dict) -> dict[str, int]:
    """What the network of a draft or a spec's values would be built with. Raises TrimError."""
    return arguments_for(*(values[key] for key in NETWORK))


def graph_of(values: dict) -> ChannelGraph:
    """The channel graph of the architecture of a draft, as it would be built for its data. Raises TrimError."""
    return _graph(values["model"], **arguments_of(values))


@st.cache_resource(max_entries=16, show_spinner=False)
def _graph(model: str, num_classes: int, in_channels: int, image_size: int, **options: int) -> ChannelGraph:
    return prepare.blank(model, num_classes, in_channels, image_size, **options)


def same_network(values: dict, others: dict) -> bool:
    """Whether two drafts or specs ask for the same network on the same data."""
    return _network(values) == _network(others)


def _network(values: dict) -> list:
    """What makes the network. An option that is not named has its default."""
    entry = models.REGISTRY.get(values["model"])
    options = entry.options_for(values["options"]) if entry else dict(values["options"])
    return [*(values[key] for key in NETWORK[:-1]), options]


@st.cache_resource(show_spinner=False)
def devices() -> dict[str, str]:
    """Name in the spec -> what it is, for the devices that this machine has."""
    found = {"auto": f"automatic: {device.describe(device.resolve('auto'))}"}
    for name in ("cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:4", "cuda:5", "cuda:6", "cuda:7", "mps", "cpu"):
        try:
            found[name] = device.describe(device.resolve(name))
        except TrimError:
            continue
    return found


def epoch_seconds(values: dict) -> float | None:
    """Seconds of an epoch of this network on this data, as the newest run of both took; None without one."""
    for run_id in store.run_ids()[:20]:
        try:
            asked = store.spec_of(run_id)
        except TrimError:
            continue
        if same_network(asked.model_dump(), values):
            times = [e["seconds"] for e in store.events(run_id) if e["kind"] == "epoch"]
            if times:
                return sorted(times)[len(times) // 2]
    return None


MACS_PER_SECOND = {"cpu": 5e10, "mps": 5e11, "cuda": 2e13}  # guesses, on the low side for a CPU of two cores


def rough_epoch_seconds(macs: int, images: int, device_name: str) -> float:
    """A guess where no run has been timed yet: a training step costs three passes."""
    return 3 * macs * images / MACS_PER_SECOND[device.resolve(device_name).type]


def in_words(seconds: float | None) -> str:
    """`40 s`, `3 min`, `2 h 10 min`; "" when it is not known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
