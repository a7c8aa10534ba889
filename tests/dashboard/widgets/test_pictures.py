"""Images above their feature maps."""

import numpy as np
import pytest

from dashboard.widgets.pictures import PALETTE, SIDE, picture

RANDOM = np.random.default_rng(0)


def test_an_image_is_enlarged_without_blurring_above_its_map():
    pixels = RANDOM.integers(0, 256, (1, 28, 28), dtype=np.uint8)
    shown = picture(pixels, np.array([[0.0, 1.0], [0.5, 0.0]]))
    side = shown.shape[1]
    assert (shown.shape, shown.dtype) == ((2 * side + 4, side, 3), np.uint8)
    assert side >= SIDE
    np.testing.assert_array_equal(shown[: side : side // 28, :: side // 28, 0], pixels[0])
    below = shown[side + 4 :]
    lowest, highest = (255 * PALETTE[[0, -1]]).round()
    np.testing.assert_array_equal(below[0, 0], lowest)
    np.testing.assert_array_equal(below[0, -1], highest)
    np.testing.assert_array_equal(below[-1, -1], lowest)
    assert len(np.unique(below.reshape(-1, 3), axis=0)) == 3


@pytest.mark.parametrize("map", [None, np.array([[3.0]])])
def test_an_image_without_a_map(map):
    pixels = RANDOM.integers(0, 256, (3, 200, 200), dtype=np.uint8)
    np.testing.assert_array_equal(picture(pixels, map), pixels.transpose(1, 2, 0))
