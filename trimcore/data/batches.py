"""Iterate over a split on a device: shuffled, augmented and normalised there."""

import os
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from trimcore.compute import distributed
from trimcore.compute.seeds import derive_seed
from trimcore.data.augmentation import AUGMENTATIONS, augmented
from trimcore.data.dataset import Data, Split
from trimcore.data.items import Items
from trimcore.data.splits import Folder, Resident, collate, fit
from trimcore.errors import DataError

Chunks = Iterator[tuple[Tensor, Tensor, list[int]]]  # stored pixels and labels of several batches, and the batch sizes
CHUNK_BYTES = 1 << 23  # of stored pixels gathered and augmented at once: many small batches or one large one


@dataclass(frozen=True, eq=False)
class Batches:
    """One epoch of a split: normalised images (B, C, H, W) float32 and labels (B,) int64, on the device. Of data of the
    user's own, the batches as their loader yields them.

    `seed` fixes order and augmentation on every device; None keeps the split's order. Iterating again repeats the same
    epoch, so give each epoch its own seed. `augment`: "none"; "shift" shifts each image by up to round(size / 14)
    pixels, filled with black; "nudge" shifts half as far; "shift+flip" also flips it at random; "affine" rotates,
    scales, shears and shifts it; "crop+flip" crops, resizes and flips it; "trivial" and "rand" are torchvision's
    TrivialAugment and RandAugment (see `data.augmentation`). Unreadable files are left out of their batch. With
    `shared`, each process of a distributed run gets its part of every batch, with its own augmentation; `batch_size`
    counts all parts together.

    >>> from trimcore import load_data
    >>> data = load_data("mnist-5k")
    >>> [tuple(x.shape) for x, y in Batches(data.test, data, 200, "cpu", seed=0, augment="shift")]
    [(200, 1, 28, 28), (200, 1, 28, 28), (100, 1, 28, 28)]

    Raises DataError for an unknown augmentation or a batch size below 1.
    """

    split: Split
    data: Data  # mean and std per channel
    batch_size: int
    device: torch.device | str
    _: KW_ONLY
    seed: int | None = None
    augment: str = "none"
    channels_last: bool = False
    shared: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.augment not in AUGMENTATIONS:
            raise DataError(f"unknown augmentation {self.augment!r}; expected one of {', '.join(AUGMENTATIONS)}")

    def __len__(self) -> int:
        if isinstance(self.split, Items):
            return self.split.steps(self.batch_size, self.shared)
        return len(self._parts(torch.arange(len(self.split))))

    def _parts(self, order: Tensor) -> list[Tensor]:
        part, of = (distributed.rank(), distributed.world()) if self.shared else (0, 1)
        return distributed.parts(order, self.batch_size, part, of)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self.split, Items):
            yield from self.split.batches(self.batch_size, self.device, seed=self.seed, shared=self.shared)
        else:
            yield from self._images(self.split)

    def _images(self, split: Resident | Folder) -> Iterator[tuple[Tensor, Tensor]]:
        device = torch.empty(0, device=self.device).device  # "cuda" becomes "cuda:0", as in tensor.device
        generator = torch.Generator().manual_seed(self.seed or 0)  # on the CPU: the same numbers for every device
        count = len(split)
        order = torch.arange(count) if self.seed is None else torch.randperm(count, generator=generator)
        if not len(order):
            return
        if self.shared and distributed.rank():
            generator.manual_seed(derive_seed(self.seed or 0, "process", distributed.rank()))
        mean, std = torch.tensor([self.data.mean, self.data.std], dtype=torch.float32, device=device)[..., None, None]
        scale, bias = 1 / (255 * std), -mean / std  # (x / 255 - mean) / std in fewer passes
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        parts = self._parts(order)
        if isinstance(split, Folder):
            chunks = _chunks_of_folder(split, parts, device)
        else:
            chunks = _chunks_of_resident(split, parts, device)
        for pixels, labels, sizes in chunks:
            pixels = augmented(pixels, self.augment, generator)
            for x, y in zip(torch.split(pixels, sizes), torch.split(labels, sizes), strict=True):
                x = fit(x, split.image_size, split.channels)
                yield (x * scale).add_(bias).contiguous(memory_format=layout), y  # (B, C, H, W), (B,)


def _chunks_of_resident(split: Resident, batches: list[Tensor], device: torch.device) -> Chunks:
    """Chunks of several whole batches, on the device."""
    pixels, order = _pixels_on(device, split), torch.cat(batches)
    labels = split.labels.to(device)[order.to(device)]
    order = order.to(pixels.device)
    together = max(1, CHUNK_BYTES // (len(batches[0]) * pixels[0].numel()))
    sizes = [[len(batch) for batch in batches[i : i + together]] for i in range(0, len(batches), together)]
    chunks = [sum(chunk) for chunk in sizes]
    for which, y, chunk_sizes in zip(torch.split(order, chunks), torch.split(labels, chunks), sizes, strict=True):
        chunk = pixels.index_select(0, which)
        if device.type == "cuda" and chunk.device != device:
            chunk = chunk.pin_memory().to(device, non_blocking=True)
        yield chunk, y, chunk_sizes


def _pixels_on(device: torch.device, split: Resident) -> Tensor:
    """The split's pixels, copied to the device once, or left in place if they exceed a quarter of its free memory."""
    if device != split.pixels.device and device not in split.moved:
        if device.type == "cuda" and split.pixels.nbytes > torch.cuda.mem_get_info(device)[0] // 4:
            return split.pixels
        split.moved[device] = split.pixels.to(device)
    return split.moved.get(device, split.pixels)


def _chunks_of_folder(split: Folder, batches: list[Tensor], device: torch.device) -> Chunks:
    """Chunks of one batch each, decoded by worker processes, on the device.

    Raises DataError if no image of a distributed process's part is readable: the other processes would wait for it.
    """
    loader: DataLoader[tuple[int, Tensor | None]] = DataLoader(
        split,  # type: ignore[arg-type]  # it implements what DataLoader needs of a Dataset
        batch_sampler=[which.tolist() for which in batches],
        num_workers=min(8, os.cpu_count() or 1),
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # otherwise seeding the workers would draw from the global generator
    )
    for batch in loader:
        if not batch[1] and distributed.world() > 1:
            raise DataError(f"{split.files[batch[2][0]]} and all other images of its batch are unreadable; remove them")
        for pixels, labels in split.readable(batch):
            yield pixels.to(device, non_blocking=True), labels.to(device), [len(labels)]
