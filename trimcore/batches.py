"""The iteration over a split on a device: shuffled, augmented and normalised there."""

import os
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from trimcore.errors import DataError
from trimcore.splits import Folder, Pairs, Resident, Split, fit, sort_out

if TYPE_CHECKING:
    from trimcore.data import Data

AUGMENTATIONS = ("none", "shift", "shift+flip")
CHUNK_BYTES = 1 << 23  # of stored pixels, gathered and augmented at once: many small batches, or one large one


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

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.augment not in AUGMENTATIONS:
            raise DataError(f"unknown augmentation {self.augment!r}; there are {', '.join(AUGMENTATIONS)}")

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        device = torch.empty(0, device=self.device).device  # "cuda" becomes "cuda:0", which tensors answer with
        generator = torch.Generator().manual_seed(self.seed or 0)  # on the CPU: the same numbers for every device
        count = len(self.split)
        order = torch.arange(count) if self.seed is None else torch.randperm(count, generator=generator)
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
        collate_fn=sort_out,
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
