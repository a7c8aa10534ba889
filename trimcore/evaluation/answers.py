"""What a network answers on images: the probability of each class."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from trimcore.compute.inputs import call
from trimcore.compute.layout import is_channels_last
from trimcore.compute.modes import in_mode
from trimcore.compute.outputs import scores_of
from trimcore.data.batches import Batches
from trimcore.data.dataset import Data, Split
from trimcore.data.items import Items
from trimcore.data.splits import Resident
from trimcore.errors import DataError, TrimError

MAX_VALUES = 1 << 24  # in a batch of images, so that large images are answered in small batches


def images_of(split: Split) -> Iterator[tuple[Tensor, Tensor]]:
    """The readable images of a split in bounded batches: (B, C, H, W) uint8, and their places in the split, (B,).

    Raises DataError for data of the user's own, which have no images that can be drawn or corrupted, and if no image
    can be read.
    """
    if isinstance(split, Items):
        raise DataError("answers are compared on images; data of your own have none that can be drawn")
    size, seen = max(1, MAX_VALUES // (split.channels * split.image_size**2)), 0
    for pixels, places in replace(split, labels=torch.arange(len(split))).blocks(len(split)):
        yield from zip(torch.split(pixels, size), torch.split(places, size), strict=True)
        seen += len(places)
    if not seen:
        raise DataError(f"none of the {len(split)} images can be read")


def normalised(pixels: Tensor, data: Data, device: torch.device | str, channels_last: bool = False) -> Tensor:
    """Images (B, C, H, W) uint8 as the networks take them, float32 on the device."""
    split = Resident(pixels, torch.zeros(len(pixels), dtype=torch.int64), data.image_size, data.channels)
    images: Tensor
    ((images, _),) = Batches(split, data, len(pixels), device, channels_last=channels_last)
    return images


def probabilities(network: nn.Module, pixels: Tensor, data: Data, device: torch.device | str) -> Tensor:
    """The probability of each class for images (B, C, H, W) uint8, by a network on the device, in evaluation mode and
    float32. (B, classes) float64 on the CPU.

    Raises TrimError if the network does not return one finite score for each class.
    """
    images = normalised(pixels, data, device, is_channels_last(network))
    with in_mode(network, training=False), torch.inference_mode():
        scores: Tensor = scores_of(call(network, images)).cpu().double()
    if scores.shape != (len(pixels), data.num_classes):
        raise TrimError(f"{data.num_classes} classes need as many scores, not {tuple(scores.shape[1:])}")
    if not scores.isfinite().all():
        raise TrimError("a network's scores are not finite; it is damaged")
    return scores.softmax(1)
