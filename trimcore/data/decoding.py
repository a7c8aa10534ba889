"""Decode image files: upright, in the channels asked for, and square."""

import contextlib
import math
import struct
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from trimcore.errors import DataError

RESIZES = ("crop", "stretch", "pad")  # how an image that is not square becomes square
BLACK = 0


class Source(Protocol):
    """An image file: a `Path`, or a row of a table. `str` of it names it for the user."""

    def open(self, mode: str, /) -> BinaryIO: ...


def read_image(source: Source | Path, image_size: int, channels: int, resize: str = "crop") -> Tensor:
    """Read a file as (channels, image_size, image_size) uint8, turned as its EXIF orientation says.

    `resize`: "crop" resizes the shorter side and crops the centre; "stretch" ignores the proportions; "pad" resizes the
    longer side and fills the rest with black.

    Raises DataError for an unreadable image.
    """
    try:
        with source.open("rb") as file, Image.open(file) as opened:
            if opened.width * opened.height > (Image.MAX_IMAGE_PIXELS or math.inf):  # PIL itself would only warn
                raise ValueError(f"{opened.width}x{opened.height} pixels could be a decompression bomb")
            opened.draft(None, (2 * image_size, 2 * image_size))  # decode a large JPEG at reduced size
            image = _squared(_upright(opened), image_size, channels, resize)
            pixels = torch.from_numpy(np.array(image)).view(image_size, image_size, channels)
            return pixels.permute(2, 0, 1).contiguous()
    except Exception as error:  # a damaged file makes PIL raise anything from SyntaxError to struct.error
        raise DataError(f"{source} is not a readable image ({error})") from error


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
