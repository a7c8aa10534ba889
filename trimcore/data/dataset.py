"""A loaded data set: three splits, class names, and normalisation statistics."""

from dataclasses import dataclass
from typing import Any

import torch

from trimcore.data.items import Items
from trimcore.data.splits import Folder, Resident

Split = Resident | Folder | Items


@dataclass(frozen=True, eq=False)
class Data:
    """A loaded data set. `mean` and `std` are per channel, for pixels scaled to 0..1; data of the user's own have none.
    `classes` are the names of all outputs: classes, labels or values."""

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int
    image_size: int
    skipped: tuple[str, ...] = ()  # unreadable files found while loading
    notes: tuple[str, ...] = ()  # how the splits were found, one sentence each, the sizes first; of folders only
    resize: str = "crop"  # how images that are not square became square, see `decoding.read_image`
    example: Any = None  # of the user's own data: one example of the network's inputs, as a batch

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def example_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return self.channels, self.image_size, self.image_size

    @property
    def is_own(self) -> bool:
        """Whether these are data of the user's own: no images that the page can draw."""
        return isinstance(self.train, Items)

    @property
    def example_input(self) -> Any:
        """A batch with one example of the network's inputs: zeros (1, C, H, W) for images."""
        return torch.zeros(1, *self.example_shape) if self.example is None else self.example
