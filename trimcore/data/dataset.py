"""A loaded data set: three splits, class names, and normalisation statistics."""

from dataclasses import dataclass

from trimcore.data.splits import Split


@dataclass(frozen=True, eq=False)
class Data:
    """A loaded data set. `mean` and `std` are per channel, for pixels scaled to 0..1."""

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

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def example_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return self.channels, self.image_size, self.image_size
