"""Images moved, mirrored or distorted a little, each on its own, before they are normalised.

What is drawn is drawn on the CPU, so that every device gets the same numbers.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

AUGMENTATIONS = ("none", "nudge", "shift", "shift+flip", "affine")
FURTHEST = 14  # an image is moved by up to its size divided by this; by a nudge half as far
ROTATION, SHEAR = math.radians(12), math.radians(10)  # the most to either side
SCALE = 0.12  # an image becomes larger or smaller by up to this share, in each direction on its own
AT_ONCE = 256  # images that are distorted together: what they need fits into a cache


def augmented(pixels: Tensor, augment: str, generator: torch.Generator) -> Tensor:
    """(B, C, H, W) uint8, each image moved, and mirrored or distorted, on its own. As stored: a resize comes later."""
    if augment == "none":
        return pixels
    if augment == "affine":
        return _distorted(pixels, generator)
    pixels = _moved(pixels, generator, 2 * FURTHEST if augment == "nudge" else FURTHEST)
    if augment == "shift+flip":
        mirrored = torch.rand(len(pixels), generator=generator).to(pixels.device) < 0.5
        pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(3), pixels)
    return pixels


def _moved(pixels: Tensor, generator: torch.Generator, furthest: int) -> Tensor:
    """By whole pixels, up to the image's height divided by `furthest`."""
    count, _, height, width = pixels.shape
    reach = round(height / furthest)
    down, right = torch.randint(2 * reach + 1, (2, count), generator=generator).to(pixels.device)
    windows = F.pad(pixels, [reach] * 4).unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, C, down, right, H, W)
    return windows[torch.arange(count, device=pixels.device), :, down, right]  # (B, C, H, W)


def _distorted(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Turned, scaled, sheared and moved at once about the middle, between pixels too (bilinear)."""
    moves = affine_moves(len(pixels), generator).to(pixels.device)
    parts = zip(torch.split(pixels, AT_ONCE), torch.split(moves, AT_ONCE), strict=True)
    return torch.cat([seen_through(part, own) for part, own in parts])


def seen_through(pixels: Tensor, moves: Tensor) -> Tensor:
    """(B, C, H, W) uint8 as the maps `moves` (B, 2, 3) show them."""
    height, width = pixels.shape[2:]
    down, right = (torch.arange(1 - size, size, 2, device=pixels.device).view(-1, 1) / size for size in (height, width))
    across, along, fixed = moves[:, None].unbind(3)  # (B, 1, 2) each
    places = (right * across + fixed)[:, None] + (down * along)[:, :, None]  # (B, H, W, 2); fast: one sum, no product
    return F.grid_sample(pixels.float(), places, align_corners=False).round_().to(torch.uint8)


def affine_moves(count: int, generator: torch.Generator) -> Tensor:
    """(count, 2, 3): for each image the map from a place in it to the place that is seen there; -1 to 1 is the image,
    and what lies outside is black. Everything is drawn evenly from its range."""
    turn, shear, wide, high, right, down = torch.rand(6, count, generator=generator) * 2 - 1
    turn, shear, wide, high = turn * ROTATION, (shear * SHEAR).tan(), 1 + SCALE * wide, 1 + SCALE * high
    cos, sin = turn.cos(), turn.sin()
    first = [wide * cos, shear * cos - high * sin, right * 2 / FURTHEST]
    second = [wide * sin, shear * sin + high * cos, down * 2 / FURTHEST]
    return torch.stack(first + second, 1).view(count, 2, 3)
