"""What the pages show of a data set."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from trimcore import data
from trimcore.data.items import Items
from trimcore.errors import TrimError
from trimcore.tasks import Task, task_for
from trimcore.training import prepare


@dataclass(frozen=True)
class DataSummary:
    """The facts about a data set that the pages show: split sizes and a few samples, uint8 (H, W) or (H, W, 3)."""

    classes: tuple[str, ...]
    channels: int
    image_size: int
    splits: dict[str, int]
    samples: list[tuple[np.ndarray, str]]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    task: str


@st.cache_resource(max_entries=8, show_spinner=False)
def data_summary(name: str, resize: str = "crop") -> DataSummary:
    """Raises DataError, as `data.load` does."""
    task = task_for(data.task_of(name))
    loaded = prepare.for_task(data.load(name, resize=resize), task)
    splits = {part: len(getattr(loaded, part)) for part in ("train", "validation", "test")}
    samples = _own_samples(loaded, task) if loaded.is_own else _samples(loaded)
    return DataSummary(
        loaded.classes, loaded.channels, loaded.image_size, splits, samples, loaded.skipped, loaded.notes, task.name
    )  # fmt: skip


def _samples(loaded: data.Data) -> list[tuple[np.ndarray, str]]:
    samples, train = [], loaded.train
    assert not isinstance(train, Items)  # only data of the user's own are
    for index in range(min(len(train), 12)):
        try:
            pixels = train.image(index).numpy()
        except TrimError:
            continue  # a damaged file; the run counts and lists these
        picture = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        samples.append((picture, loaded.classes[int(train.labels[index])]))
    return samples


def _own_samples(loaded: data.Data, task: Task) -> list[tuple[np.ndarray, str]]:
    """The first inputs of data of the user's own, if they look like images: stretched to the whole range of grey."""
    batch = next(iter(data.Batches(loaded.train, loaded, 12, "cpu")))
    inputs, samples = task.inputs(batch), []
    if getattr(inputs, "ndim", 0) != 4 or inputs.shape[1] not in (1, 3):
        return []
    for index, pixels in enumerate(inputs.float().numpy()):
        low, high = pixels.min(), pixels.max()
        grey = ((pixels - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)
        label = loaded.classes[int(batch[1][index])] if task.name == "classification" else ""
        samples.append((grey[0] if len(grey) == 1 else grey.transpose(1, 2, 0), label))
    return samples
