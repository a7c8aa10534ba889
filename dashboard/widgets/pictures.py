"""Images and feature maps as pictures."""

import numpy as np
from plotly.colors import sample_colorscale

SIDE = 96  # minimum width of an image in pixels
PALETTE = np.array(sample_colorscale("Cividis", np.linspace(0, 1, 256), colortype="tuple"))


def picture(pixels: np.ndarray, map: np.ndarray | None, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """An image (C, H, W) uint8, enlarged without blurring, above its feature map (h, w) at the same size, in Cividis
    from `low` to `high`. A map with a single position is not drawn. Returns (height, side, 3) uint8."""
    side = pixels.shape[-1] * max(1, -(-SIDE // pixels.shape[-1]))
    image = _enlarged(pixels.transpose(1, 2, 0), side)
    image = np.broadcast_to(image, (side, side, 3)) if image.shape[2] == 1 else image
    if map is None or map.size == 1:
        return np.ascontiguousarray(image)
    level = (255 * ((map - low) / ((high - low) or 1.0)).clip(0, 1)).round().astype(int)
    gap = np.full((4, side, 3), 128, np.uint8)
    return np.concatenate([image, gap, (255 * _enlarged(PALETTE[level], side)).round().astype(np.uint8)])


def _enlarged(values: np.ndarray, side: int) -> np.ndarray:
    """(h, w, ...) -> (side, side, ...) by nearest neighbour."""
    rows, columns = (np.arange(side) * n // side for n in values.shape[:2])
    enlarged: np.ndarray = values[rows][:, columns]
    return enlarged
