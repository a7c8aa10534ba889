"""The splits of a data set: 8-bit images in memory, or files that are decoded on demand."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trimcore.data.decoding import Source, read_image
from trimcore.errors import DataError

Pairs = Iterator[tuple[Tensor, Tensor]]  # images uint8 (B, C, H, W) and labels int64 (B,)
BLOCK = 500  # images decoded or resized at once while loading


def fit(pixels: Tensor, image_size: int, channels: int) -> Tensor:
    """(B, c, h, w) uint8 -> (B, channels, image_size, image_size) uint8: bilinear with antialiasing. Colour becomes
    luma, grey is repeated."""
    if pixels.shape[1] == 3 and channels == 1:
        luma = torch.tensor([0.299, 0.587, 0.114], device=pixels.device).view(1, 3, 1, 1)
        pixels = (pixels * luma).sum(1, keepdim=True).round().to(torch.uint8)
    if pixels.shape[2:] != (image_size, image_size):
        resized = F.interpolate(pixels.float(), (image_size, image_size), mode="bilinear", antialias=True)
        pixels = resized.round().to(torch.uint8)
    return pixels.expand(-1, channels, -1, -1)


@dataclass(frozen=True, eq=False)
class Resident:
    """A split in memory. Pixels that would grow too large stay at their stored size and are resized per batch."""

    pixels: Tensor  # (N, c, h, w) uint8
    labels: Tensor  # (N,) int64
    image_size: int  # after `fit`
    channels: int
    names: tuple[str, ...] = ()  # of the files that the images were read from; of other images, there are none
    moved: dict[torch.device, Tensor] = field(init=False, default_factory=dict, repr=False)  # the pixels on a device

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, i: int) -> Tensor:
        """Example i as uint8 (C, H, W)."""
        return fit(self.pixels[i].unsqueeze(0), self.image_size, self.channels)[0]

    def name(self, i: int) -> str:
        """The file of example i, or ""."""
        return self.names[i] if self.names else ""

    def take(self, which: Tensor | list[int] | slice) -> "Resident":
        places = torch.arange(len(self))[which].tolist() if self.names else []
        names = tuple(self.names[i] for i in places)
        return replace(self, pixels=self.pixels[which], labels=self.labels[which], names=names)

    def subset(self, n: int) -> "Resident":
        """The first n examples, which are stratified. All of them if n is 0 or larger than the split."""
        return self.take(slice(n)) if 0 < n < len(self) else self

    def blocks(self, n: int) -> Pairs:
        """The first n examples in blocks, resized."""
        blocks = torch.split(self.pixels[:n], BLOCK), torch.split(self.labels[:n], BLOCK)
        for pixels, labels in zip(*blocks, strict=True):
            yield fit(pixels, self.image_size, self.channels), labels


@dataclass(frozen=True, eq=False)
class Folder:
    """A split of image files, decoded on every use. Unreadable files are recorded in `skipped`."""

    root: Path
    files: tuple[Path | Source, ...]
    labels: Tensor  # (N,) int64
    image_size: int = 64
    channels: int = 3
    resize: str = "crop"  # see `read_image`
    skipped: set[str] = field(default_factory=set)  # names of files; shared with splits taken from this one

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[int, Tensor | None]:
        """For DataLoader workers: i and its image, or None if the file is unreadable."""
        try:
            return i, self.image(i)
        except DataError:
            return i, None

    def image(self, i: int) -> Tensor:
        """Example i as uint8 (C, H, W). Raises DataError if the file is not a readable image."""
        return read_image(self.files[i], self.image_size, self.channels, self.resize)

    def name(self, i: int) -> str:
        """The file of example i, as a path relative to the root if it is one."""
        file = self.files[i]
        return Path(os.path.relpath(file, self.root)).as_posix() if isinstance(file, Path) else str(file)

    def take(self, which: Tensor | list[int]) -> "Folder":
        places = torch.as_tensor(which).tolist()
        return replace(self, files=tuple(self.files[i] for i in places), labels=self.labels[which])

    def subset(self, n: int) -> "Folder":
        """The first n examples, which are stratified. All of them if n is 0 or larger than the split."""
        return self.take(torch.arange(n)) if 0 < n < len(self) else self

    def readable(self, batch: tuple[Tensor, list[int], list[int]]) -> Pairs:
        """Record the unreadable files that `collate` found; yield the rest, if any."""
        pixels, good, bad = batch
        self.skipped.update(map(self.name, bad))
        if good:
            yield pixels, self.labels[good]

    def blocks(self, n: int) -> Pairs:
        """The readable examples among the first n, decoded in blocks."""
        with ThreadPoolExecutor() as pool:  # threads suffice: PIL releases the GIL while decoding
            for start in range(0, min(n, len(self)), BLOCK):
                block = range(start, min(start + BLOCK, n, len(self)))
                yield from self.readable(collate(pool.map(self.__getitem__, block)))


ImageSplit = Resident | Folder


def collate(items: Iterable[tuple[int, Tensor | None]]) -> tuple[Tensor, list[int], list[int]]:
    """Pixels (B, C, H, W) uint8 of the readable items, their indices, and the indices of unreadable items."""
    images = dict(items)
    good = {i: image for i, image in images.items() if image is not None}
    pixels = torch.stack(list(good.values())) if good else torch.empty(0, dtype=torch.uint8)
    return pixels, list(good), [i for i, image in images.items() if image is None]


def stratified_order(labels: Tensor, seed: int = 0) -> Tensor:
    """A random order (N,) in which every prefix has the classes in proportion.

    It uses numpy's RandomState, whose stream is frozen, so the splits are the same on every machine and version.
    """
    numbers = labels.numpy()
    order = np.random.RandomState(seed % 2**32).permutation(len(labels))
    order = order[numbers[order].argsort(kind="stable")]  # by class, random within each class
    counts = np.bincount(numbers)
    rank = np.arange(len(labels)) - (counts.cumsum() - counts)[numbers[order]]
    place = (rank + 0.5) / counts[numbers[order]]  # each class evenly spaced between 0 and 1
    return torch.from_numpy(order[place.argsort(kind="stable")])


def partition(split: ImageSplit, *sizes: int) -> list[ImageSplit]:
    """Disjoint stratified parts of the given sizes, then the remainder."""
    order = stratified_order(split.labels)
    return [split.take(which) for which in torch.split(order, [*sizes, len(split) - sum(sizes)])]


def in_memory(split: ImageSplit, name: str) -> Resident:
    """The readable images of a split, decoded and resized. Raises DataError, naming the data, if there are none."""
    blocks = list(split.blocks(len(split)))
    if not blocks:
        raise DataError(f"data {name!r}: none of a split's {len(split)} images can be read")
    pixels, labels = map(torch.cat, zip(*blocks, strict=True))
    names: tuple[str, ...] = ()
    if isinstance(split, Folder):
        names = tuple(name for name in map(split.name, range(len(split))) if name not in split.skipped)
    return Resident(pixels, labels, split.image_size, split.channels, names)
