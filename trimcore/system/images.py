"""Decode an image file with Pillow: upright, in the channels asked for, and square."""

import contextlib
import math
import struct
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

RESIZES = ("crop", "stretch", "pad")  # how an image that is not square becomes square
BLACK = 0


def decode(
    file: BinaryIO, image_size: int, channels: int, resize: str = "crop", formats: tuple[str, ...] | None = None
) -> np.ndarray:
    """(image_size, image_size, channels) uint8, turned as its EXIF orientation says. See `data.decoding.read_image`.

    formats: the formats that may be read, as Pillow names them (default: all). A damaged file makes Pillow raise
    anything from SyntaxError to struct.error; an image that could be a decompression bomb raises ValueError.
    """
    with Image.open(file, formats=formats) as opened:
        if opened.width * opened.height > (Image.MAX_IMAGE_PIXELS or math.inf):  # Pillow itself would only warn
            raise ValueError(f"{opened.width}x{opened.height} pixels could be a decompression bomb")
        opened.draft(None, (2 * image_size, 2 * image_size))  # decode a large JPEG at reduced size
        image = _squared(_upright(opened), image_size, channels, resize)
        return np.array(image).reshape(image_size, image_size, channels)


def _upright(image: Image.Image) -> Image.Image:
    """The image as the camera was held. Damaged metadata are ignored, as viewers do."""
    with contextlib.suppress(SyntaxError, ValueError, LookupError, TypeError, AttributeError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _squared(image: Image.Image, size: int, channels: int, resize: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits per pixel; convert() would clip instead of scaling
        image = Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))
    image = image.convert("L" if channels == 1 else "RGB")
    method = Image.Resampling.BILINEAR
    if resize == "stretch":
        return image.resize((size, size), method)
    if resize == "pad":
        return ImageOps.pad(image, (size, size), method, color=BLACK)
    return ImageOps.fit(image, (size, size), method)
