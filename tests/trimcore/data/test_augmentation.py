"""Warped images compared with whole-pixel shifts, quarter turns and torch's own grid, and the ranges of the maps."""

import math

import pytest
import torch
import torch.nn.functional as F

from trimcore.data import augmentation
from trimcore.data.augmentation import augmented, random_affine_maps, warp

IDENTITY = torch.tensor([[1.0, 0, 0], [0, 1, 0]])


def pictures(count: int, channels: int = 1, height: int = 28, width: int = 28) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("size", [(28, 28), (7, 12), (1, 1)])
def test_the_identity_map_changes_nothing(size):
    images = pictures(5, 3, *size)
    assert torch.equal(warp(images, IDENTITY.expand(5, 2, 3)), images)


def test_a_shift_by_whole_pixels_fills_with_black():
    images, maps = pictures(2, 3, 10, 20), IDENTITY.repeat(2, 1, 1)
    maps[0, 0, 2] = 2 * 3 / 20  # samples 3 pixels further right, so the image shifts left
    maps[1, 1, 2] = -2 * 4 / 10
    left, down = warp(images, maps)
    assert torch.equal(left[:, :, :-3], images[0, :, :, 3:])
    assert not left[:, :, -3:].any()
    assert torch.equal(down[:, 4:], images[1, :, :-4])
    assert not down[:, :4].any()


def test_a_quarter_turn():
    images = pictures(3)
    turned = warp(images, torch.tensor([[[0.0, -1, 0], [1, 0, 0]]]).expand(3, 2, 3))
    assert torch.equal(turned, torch.rot90(images, 1, (2, 3)))


@pytest.mark.parametrize("size", [(28, 28), (15, 32)])
def test_warping_matches_torch(size):
    images, maps = pictures(600, 2, *size), random_affine_maps(600, torch.Generator().manual_seed(3))
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    wanted = F.grid_sample(images.float(), grid, align_corners=False)
    found = warp(images, maps).float()
    assert (found - wanted).abs().max() < 0.51  # rounded to integers
    again = augmented(images, "affine", torch.Generator().manual_seed(3))  # in several chunks
    assert torch.equal(again.float(), found)


def test_random_maps_cover_their_ranges():
    maps = random_affine_maps(4000, torch.Generator().manual_seed(0)).double()
    (a, b, right), (c, d, down) = maps.unbind(1)[0].unbind(1), maps.unbind(1)[1].unbind(1)
    turn, wide = torch.atan2(c, a), torch.hypot(a, c)
    high = (a * d - b * c) / wide
    shear = torch.atan(b * turn.cos() + d * turn.sin())
    found = {"turn": turn, "shear": shear, "wide": wide - 1, "high": high - 1, "right": right / 2, "down": down / 2}
    limits = {"turn": augmentation.ROTATION, "shear": augmentation.SHEAR, "wide": 0.12, "high": 0.12, "right": 1 / 14}
    for name, values in found.items():
        limit = limits.get(name, 1 / 14)
        assert 0.98 * limit < values.max() <= limit + 1e-6, name
        assert -limit - 1e-6 <= values.min() < -0.98 * limit, name
        assert abs(values.mean()) < 0.05 * limit, name
    assert math.degrees(augmentation.ROTATION) == pytest.approx(12)


def test_each_image_is_augmented_independently():
    """Two copies of an image are warped differently; the channels of one image are warped together."""
    image = pictures(1).repeat(2, 3, 1, 1)
    one, other = augmented(image, "affine", torch.Generator().manual_seed(0))
    assert not torch.equal(one, other)
    assert torch.equal(one[0], one[1])
    assert torch.equal(one[0], one[2])
