"""The splits of a data set, as 8-bit images in memory or in files, and the iteration over one on a device."""

import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader

from trimcore.errors import DataError

if TYPE_CHECKING:
    from trimcore.data import Data

Pairs = Iterator[tuple[Tensor, Tensor]]  # images uint8 (B, C, H, W) and labels int64 (B,)
AUGMENTATIONS = ("none", "shift", "shift+flip")
BLOCK = 500  # images decoded or resized at once while loading
CHUNK_BYTES = 1 << 23  # of stored pixels, gathered and augmented at once: many small batches, or one large one


def fit(pixels: Tensor, image_size: int, channels: int) -> Tensor:
    """(B, c, h, w) uint8 -> (B, channels, image_size, image_size) uint8: bilinear with antialias; luma, or repeated."""
    if pixels.shape[1] == 3 and channels == 1:
        luma = torch.tensor([0.299, 0.587, 0.114], device=pixels.device).view(1, 3, 1, 1)
        pixels = (pixels * luma).sum(1, keepdim=True).round().to(torch.uint8)
    if pixels.shape[2:] != (image_size, image_size):
        resized = F.interpolate(pixels.float(), (image_size, image_size), mode="bilinear", antialias=True)
        pixels = resized.round().to(torch.uint8)
    return pixels.expand(-1, channels, -1, -1)


def read_image(path: Path, image_size: int, channels: int) -> Tensor:
    """The file as (channels, image_size, image_size) uint8: shorter side resized, centre cropped. Raises DataError."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):  # PIL itself would only warn
                raise ValueError(f"{image.width}x{image.height} pixels could be a decompression bomb")
            image.draft(None, (2 * image_size, 2 * image_size))  # decodes a large JPEG at a fraction of its size
            if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip instead of scale
                image = Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))
            image = image.convert("L" if channels == 1 else "RGB")
            image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR)
            pixels = torch.from_numpy(np.array(image)).view(image_size, image_size, channels)
            return pixels.permute(2, 0, 1).contiguous()
    except Exception as error:  # PIL raises nearly anything, from SyntaxError to struct.error, for a damaged file
        raise DataError(f"{path} is not a readable image ({error})") from error


@dataclass(frozen=True, eq=False)
class Resident:
    """A split in memory. Pixels that would grow too large are held as they came, and fitted batch by batch."""

    pixels: Tensor  # (N, c, h, w) uint8
    labels: Tensor  # (N,) int64
    image_size: int  # what `fit` makes of them
    channels: int
    moved: dict[torch.device, Tensor] = field(init=False, default_factory=dict, repr=False)  # the pixels on a device

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, i: int) -> Tensor:
        """Example i, uint8 (C, H, W)."""
        return fit(self.pixels[i].unsqueeze(0), self.image_size, self.channels)[0]

    def take(self, which: Tensor | slice) -> "Resident":
        return replace(self, pixels=self.pixels[which], labels=self.labels[which])

    def subset(self, n: int) -> "Resident":
        """The first n examples, which are stratified; 0, or more than there are, is all of them."""
        return self.take(slice(n)) if 0 < n < len(self) else self

    def blocks(self, n: int) -> Pairs:
        """The first n examples, fitted."""
        for pixels, labels in zip(self.pixels[:n].split(BLOCK), self.labels[:n].split(BLOCK), strict=True):
            yield fit(pixels, self.image_size, self.channels), labels


@dataclass(frozen=True, eq=False)
class Folder:
    """A split of image files, decoded each time that they are needed. Unreadable ones are noted in `skipped`."""

    root: Path
    files: tuple[Path, ...]
    labels: Tensor  # (N,) int64
    image_size: int = 64
    channels: int = 3
    skipped: set[str] = field(default_factory=set)  # paths from root; shared with the splits taken from this one

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[int, Tensor | None]:
        """What a loader's worker hands over: i, and its image or None where the file is unreadable."""
        try:
            return i, self.image(i)
        except DataError:
            return i, None

    def image(self, i: int) -> Tensor:
        """Example i, uint8 (C, H, W). Raises DataError for a file that is not a readable image."""
        return read_image(self.files[i], self.image_size, self.channels)

    def take(self, which: Tensor) -> "Folder":
        return replace(self, files=tuple(self.files[i] for i in which.tolist()), labels=self.labels[which])

    def subset(self, n: int) -> "Folder":
        """The first n examples, which are stratified; 0, or more than there are, is all of them."""
        return self.take(torch.arange(n)) if 0 < n < len(self) else self

    def readable(self, batch: tuple[Tensor, list[int], list[int]]) -> Pairs:
        """Note what `_sort_out` found unreadable; yield the rest, if any."""
        pixels, good, bad = batch
        self.skipped.update(self.files[i].relative_to(self.root).as_posix() for i in bad)
        if good:
            yield pixels, self.labels[good]

    def blocks(self, n: int) -> Pairs:
        """The readable ones of the first n examples, decoded."""
        with ThreadPoolExecutor() as pool:  # threads are enough: PIL decodes without holding the interpreter's lock
            for start in range(0, min(n, len(self)), BLOCK):
                block = range(start, min(start + BLOCK, n, len(self)))
                yield from self.readable(_sort_out(pool.map(self.__getitem__, block)))


Split = Resident | Folder


def _sort_out(items: Iterable[tuple[int, Tensor | None]]) -> tuple[Tensor, list[int], list[int]]:
    """Pixels (B, C, H, W) uint8 of the readable items, their indices, and the indices of the unreadable ones."""
    images = dict(items)
    good = [i for i, image in images.items() if image is not None]
    pixels = torch.stack([images[i] for i in good]) if good else torch.empty(0, dtype=torch.uint8)
    return pixels, good, [i for i, image in images.items() if image is None]


@dataclass(frozen=True, eq=False)
class Batches:
    """An epoch of a split: normalised images (B, C, H, W) float32 and labels (B,) int64, on the device.

    `seed` fixes the order and the augmentation, on every device; None keeps the split's order. Iterating again gives
    the same again: give each epoch its own seed. `augment`: "none"; "shift" moves each image by up to round(size / 14)
    pixels, filling with black; "shift+flip" also mirrors it, or not. Unreadable files are left out of their batch.

    >>> for x, y in batches(data.train, data, 128, "cuda", seed=epoch, augment="shift"): ...

    Raises DataError for an unknown augmentation or a batch size below 1.
    """

    split: Split
    data: "Data"  # mean and std per channel
    batch_size: int
    device: torch.device | str
    _: KW_ONLY
    seed: int | None = None
    augment: str = "none"
    channels_last: bool = False
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.augment not in AUGMENTATIONS:
            raise DataError(f"unknown augmentation {self.augment!r}; there are {', '.join(AUGMENTATIONS)}")

    def __len__(self) -> int:
        return len(self.split) // self.batch_size if self.drop_last else -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        device = torch.empty(0, device=self.device).device  # "cuda" becomes "cuda:0", which tensors answer with
        generator = torch.Generator().manual_seed(self.seed or 0)  # on the CPU: the same numbers for every device
        count = len(self.split)
        order = torch.arange(count) if self.seed is None else torch.randperm(count, generator=generator)
        order = order[: len(self) * self.batch_size]
        if not len(order):
            return
        mean, std = torch.tensor([self.data.mean, self.data.std], dtype=torch.float32, device=device)[..., None, None]
        scale, bias = 1 / (255 * std), -mean / std  # the same as (x / 255 - mean) / std, in fewer passes
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        chunks = _chunks_of_folder if isinstance(self.split, Folder) else _chunks_of_resident
        for pixels, labels in chunks(self.split, order, self.batch_size, device):
            pixels = _augmented(pixels, self.augment, generator)
            for x, y in zip(pixels.split(self.batch_size), labels.split(self.batch_size), strict=True):
                x = fit(x, self.split.image_size, self.split.channels)
                yield (x * scale).add_(bias).contiguous(memory_format=layout), y  # (B, C, H, W), (B,)


batches = Batches  # reads like `range` where it is used


def _chunks_of_resident(split: Resident, order: Tensor, batch_size: int, device: torch.device) -> Pairs:
    """On the device, several whole batches together."""
    pixels = _placed(split, device)
    labels = split.labels.to(device)[order.to(device)]
    order = order.to(pixels.device)
    size = batch_size * max(1, CHUNK_BYTES // (batch_size * pixels[0].numel()))
    for which, y in zip(order.split(size), labels.split(size), strict=True):
        chunk = pixels.index_select(0, which)
        if device.type == "cuda" and chunk.device != device:
            chunk = chunk.pin_memory().to(device, non_blocking=True)
        yield chunk, y


def _placed(split: Resident, device: torch.device) -> Tensor:
    """The split's pixels on the device, moved once; or where they lie, if they need a quarter of its free memory."""
    if device != split.pixels.device and device not in split.moved:
        if device.type == "cuda" and split.pixels.nbytes > torch.cuda.mem_get_info(device)[0] // 4:
            return split.pixels
        split.moved[device] = split.pixels.to(device)
    return split.moved.get(device, split.pixels)


def _chunks_of_folder(split: Folder, order: Tensor, batch_size: int, device: torch.device) -> Pairs:
    """On the device, one batch at a time, decoded by worker processes."""
    loader = DataLoader(
        split,
        batch_sampler=[which.tolist() for which in order.split(batch_size)],
        num_workers=min(8, os.cpu_count() or 1),
        collate_fn=_sort_out,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # else seeding the workers would draw from the global one
    )
    for batch in loader:
        for pixels, labels in split.readable(batch):
            yield pixels.to(device, non_blocking=True), labels.to(device)


def _augmented(pixels: Tensor, augment: str, generator: torch.Generator) -> Tensor:
    """(B, C, H, W) uint8, each image moved, and mirrored, on its own. As stored: a resize comes later."""
    if augment == "none":
        return pixels
    count, _, height, width = pixels.shape
    reach = round(height / 14)
    down, right = torch.randint(2 * reach + 1, (2, count), generator=generator).to(pixels.device)
    windows = F.pad(pixels, [reach] * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, C, down, right, H, W)
    pixels = windows[torch.arange(count, device=pixels.device), :, down, right]  # (B, C, H, W)
    if augment == "shift+flip":
        mirrored = torch.rand(count, generator=generator).to(pixels.device) < 0.5
        pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(3), pixels)
    return pixels
