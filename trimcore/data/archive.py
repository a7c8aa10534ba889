"""Unpack a zip file of images that nobody has checked."""

import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from torchvision.datasets.folder import IMG_EXTENSIONS

from trimcore.errors import DataError, first_line

MAX_BYTES = 4 << 30  # unpacked
MAX_FILES = 200_000
RESERVE = 1 << 30  # bytes that stay free on the disk
BLOCK = 1 << 20


def unpack_images(archive: BinaryIO, folder: Path, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> None:
    """Unpack the images of a zip file into a new folder, which appears when all of them are there. Everything else in
    the file is left out, links too. What the file says about its sizes is not believed.

    Raises DataError for a file that is no zip file, is damaged or encrypted, has paths that lead out of the folder, or
    exceeds `max_bytes` unpacked, `max_files` images or the space on the disk. Then nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    space = shutil.disk_usage(folder.parent).free - RESERVE
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as temporary:
        try:
            with zipfile.ZipFile(archive) as content:
                _unpack(content, Path(temporary) / "images", min(max_bytes, space), max_files)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError, OSError) as error:
            raise DataError(f"the zip file cannot be unpacked: {first_line(error)}") from None
        os.replace(Path(temporary) / "images", folder)


def _unpack(content: zipfile.ZipFile, folder: Path, max_bytes: int, max_files: int) -> None:
    images = [entry for entry in content.infolist() if _is_image(entry)]
    if not images:
        raise DataError("the zip file contains no images")
    if len(images) > max_files:
        raise DataError(f"the zip file contains {len(images):,} images; at most {max_files:,} are accepted")
    left = max_bytes
    for entry in images:
        path = folder / _inside(entry.filename)
        if path.exists():
            raise DataError(f"the zip file contains two files {entry.filename[:80]!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with content.open(entry) as source, open(path, "xb") as target:
            while block := source.read(BLOCK):
                left -= len(block)
                if left < 0:
                    raise DataError(
                        f"the zip file needs more than the {max(0, max_bytes):,} bytes that it may take unpacked"
                    )
                target.write(block)


def _is_image(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is an ordinary file with an image extension. Files of macOS beside the images are not."""
    path, mode = PurePosixPath(entry.filename), entry.external_attr >> 16
    plain = not entry.is_dir() and (not stat.S_IFMT(mode) or stat.S_ISREG(mode))
    return plain and path.suffix.lower() in IMG_EXTENSIONS and "__MACOSX" not in path.parts


def _inside(name: str) -> Path:
    """The path of an entry below the folder. Raises DataError if it leads out of it."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name:
        raise DataError(f"the zip file contains the path {name[:80]!r}, which leads out of its folder")
    return Path(*path.parts)
