"""Random shifts, flips, crops and distortions, drawn for each image before normalisation.

Random numbers are drawn on the CPU, so every device gets the same ones.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

AUGMENTATIONS = ("none", "nudge", "shift", "shift+flip", "affine", "crop+flip", "trivial", "rand")
SHIFT = 14  # an image shifts by up to its size divided by this; a nudge is half as far
ROTATION, SHEAR = math.radians(12), math.radians(10)  # maximum to either side
SCALE = 0.12  # maximum change in size, drawn separately for width and height
CROP = (0.35, 1.0)  # range of a crop's area, as a share of the image's
CHUNK = 256  # images warped at once: their intermediates fit into the cache


def augmented(pixels: Tensor, augment: str, generator: torch.Generator) -> Tensor:
    """(B, C, H, W) uint8, each image augmented independently, at its stored size: resizing comes later."""
    if augment == "none":
        return pixels
    if augment == "affine":
        return _warped(pixels, generator)
    if augment in ("crop+flip", "trivial", "rand"):
        return _one_by_one(pixels, augment, generator)
    pixels = _shifted(pixels, generator, 2 * SHIFT if augment == "nudge" else SHIFT)
    if augment == "shift+flip":
        flipped = torch.rand(len(pixels), generator=generator).to(pixels.device) < 0.5
        pixels = torch.where(flipped.view(-1, 1, 1, 1), pixels.flip(3), pixels)
    return pixels


def _one_by_one(pixels: Tensor, augment: str, generator: torch.Generator) -> Tensor:
    """Apply a transform of torchvision to each image. It draws from the global random numbers, which are restored."""
    transform = _transform(augment, pixels.shape[-1])
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return torch.stack([transform(image) for image in pixels])


def _transform(augment: str, size: int) -> Callable[[Tensor], Tensor]:
    known: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
        "crop+flip": lambda: v2.Compose([v2.RandomResizedCrop(size, CROP, antialias=True), v2.RandomHorizontalFlip()]),
        "trivial": v2.TrivialAugmentWide,
        "rand": v2.RandAugment,
    }
    return known[augment]()


def _shifted(pixels: Tensor, generator: torch.Generator, divisor: int) -> Tensor:
    """Shift each image by whole pixels, by up to its height divided by `divisor`."""
    count, _, height, width = pixels.shape
    reach = round(height / divisor)
    down, right = torch.randint(2 * reach + 1, (2, count), generator=generator).to(pixels.device)
    windows = F.pad(pixels, [reach] * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, C, down, right, H, W)
    return windows[torch.arange(count, device=pixels.device), :, down, right]  # (B, C, H, W)


def _warped(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, scale, shear and shift each image in one bilinear resampling."""
    maps = random_affine_maps(len(pixels), generator).to(pixels.device)
    chunks = zip(torch.split(pixels, CHUNK), torch.split(maps, CHUNK), strict=True)
    return torch.cat([warp(images, own) for images, own in chunks])


def warp(pixels: Tensor, maps: Tensor) -> Tensor:
    """(B, C, H, W) uint8, resampled bilinearly through the affine maps (B, 2, 3)."""
    height, width = pixels.shape[2:]
    down, right = (torch.arange(1 - size, size, 2, device=pixels.device).view(-1, 1) / size for size in (height, width))
    across, along, fixed = maps[:, None].unbind(3)  # (B, 1, 2) each
    places = (right * across + fixed)[:, None] + (down * along)[:, :, None]  # (B, H, W, 2), one broadcast sum
    return F.grid_sample(pixels.float(), places, align_corners=False).round_().to(torch.uint8)


def random_affine_maps(count: int, generator: torch.Generator) -> Tensor:
    """(count, 2, 3): for each image, the map from output positions to input positions. The image spans -1 to 1, and
    everything outside is black. All parameters are drawn uniformly from their ranges."""
    turn, shear, wide, high, right, down = torch.rand(6, count, generator=generator) * 2 - 1
    turn, shear, wide, high = turn * ROTATION, (shear * SHEAR).tan(), 1 + SCALE * wide, 1 + SCALE * high
    cos, sin = turn.cos(), turn.sin()
    first = [wide * cos, shear * cos - high * sin, right * 2 / SHIFT]
    second = [wide * sin, shear * sin + high * cos, down * 2 / SHIFT]
    return torch.stack(first + second, 1).view(count, 2, 3)
