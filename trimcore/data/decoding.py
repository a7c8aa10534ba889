"""Decode image files as tensors: upright, in the channels asked for, and square."""

from pathlib import Path
from typing import BinaryIO, Protocol

import torch
from torch import Tensor

from trimcore.errors import DataError
from trimcore.system.images import RESIZES, decode

__all__ = ["RESIZES", "Source", "read_image"]


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
        with source.open("rb") as file:
            pixels = decode(file, image_size, channels, resize)
    except Exception as error:  # a damaged file makes Pillow raise anything from SyntaxError to struct.error
        raise DataError(f"{source} is not a readable image ({error})") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
