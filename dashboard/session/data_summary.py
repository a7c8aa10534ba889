"""What the pages show of a data set."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from trimcore import data
from trimcore.errors import TrimError


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


@st.cache_resource(max_entries=8, show_spinner=False)
def data_summary(name: str, resize: str = "crop") -> DataSummary:
    """Raises DataError, as `data.load` does."""
    loaded = data.load(name, resize=resize)
    samples = []
    for index in range(min(len(loaded.train), 12)):
        try:
            pixels = loaded.train.image(index).numpy()
        except TrimError:
            continue  # a damaged file; the run counts and lists these
        picture = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        samples.append((picture, loaded.classes[int(loaded.train.labels[index])]))
    splits = {part: len(getattr(loaded, part)) for part in ("train", "validation", "test")}
    return DataSummary(
        loaded.classes, loaded.channels, loaded.image_size, splits, samples, loaded.skipped, loaded.notes
    )  # fmt: skip
