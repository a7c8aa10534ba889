"""Data sets by name, each loaded as three splits of 8-bit images.

The splits never depend on a run's seed. Otherwise a network could be retrained on its parent run's test images, and the
accuracies of two runs would not be comparable.
"""

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from trimcore.data import own
from trimcore.data.dataset import Data
from trimcore.data.decoding import RESIZES
from trimcore.data.folders import faces, image_folder
from trimcore.data.saved import saved_dataset
from trimcore.data.splits import Folder, ImageSplit, in_memory, stratified_order
from trimcore.data.table import image_table
from trimcore.data.torchvision import SOURCES, from_torchvision, mnist_5k
from trimcore.data.unlabelled import unlabelled_images
from trimcore.errors import DataError, first_line
from trimcore.system import own_code

MEMORY_LIMIT = 1 << 30  # bytes of decoded pixels, all splits together, to keep in memory
STATISTICS_IMAGES = 10_000  # the maximum number of training images that mean and std are computed from
STATISTICS_BYTES = 1 << 27  # ... and the maximum bytes of pixels, so that large images take a second, not minutes
READERS = {
    "imagefolder": image_folder, "images": image_table, "hf": saved_dataset, "lfw": faces,
    "unlabelled": unlabelled_images,
}  # fmt: skip
FILES = ("images",)  # the kinds that are a file; the others are folders


def datasets() -> dict[str, str]:
    """The data sets that can be loaded: name -> one-line description."""
    own_code.load_used()
    return {
        "mnist-5k": "5,000 handwritten digits, 28x28 grey, 10 classes; needs no network",
        "mnist": "70,000 handwritten digits, 28x28 grey, 10 classes",
        "fashion-mnist": "70,000 pieces of clothing, 28x28 grey, 10 classes",
        "cifar10": "60,000 photographs, 32x32 colour, 10 classes",
        "cifar100": "60,000 photographs, 32x32 colour, 100 classes",
        "imagefolder:PATH": "your own images: one folder per class, or one per split with one folder per class in each",
        "images:TABLE": "your own images, listed in a CSV file with the columns path and label, and perhaps split",
        "hf:PATH": "a data set that Hugging Face's package datasets saved to disk, with images and class labels",
        "lfw:PATH": "Labeled Faces in the Wild, your own copy in torchvision's layout: who is it?",
        "unlabelled:PATH": "images without labels, anywhere below a folder, to trim a trained network with",
        **own.DESCRIPTIONS,
    }


def check_name(name: str) -> None:
    """Raise DataError for a name that `load` does not know. `check_there` checks whether the folder or file exists."""
    kind, _, path = name.partition(":")
    if kind in READERS and path:
        return
    if path and kind not in READERS and kind not in datasets():
        own_code.check_form("data", name)
    elif name not in datasets() or ":" in name:
        known = ", ".join(datasets())
        raise DataError(f"unknown data set {name!r}; expected one of {known}, or package.module:function")


def is_own(name: str) -> bool:
    """Whether a known name stands for data of the user's own."""
    kind, _, path = name.partition(":")
    return name in own.REGISTERED or bool(path and kind not in READERS)


def task_of(name: str) -> str:
    """The task that data are for: classification, unless they have no labels or `register_data` said otherwise."""
    own_code.load_used()
    return "agreement" if name.startswith("unlabelled:") else own.TASKS.get(name, "classification")


def check_there(name: str) -> None:
    """Raise DataError if the data set's folder or file does not exist or cannot be accessed."""
    kind, _, path = name.partition(":")
    if kind not in READERS:
        return
    place = Path(path)
    try:
        there = place.expanduser().is_file() if kind in FILES else place.expanduser().is_dir()
    except (OSError, RuntimeError) as error:  # the path is too long, or its ~user does not exist
        raise DataError(f"cannot access data {name!r}: {first_line(error)}") from None
    if not there:
        what, form = ("file", "TABLE") if kind in FILES else ("folder", "PATH")
        raise DataError(f"data {name!r}: no {what} {path!r}; use {kind}:{form} with an existing {what}")


def load(
    name: str,
    *,
    image_size: int | Callable[[int], int] | None = None,
    channels: int | None = None,
    seed: int = 0,
    root: Path | None = None,
    normalize: tuple[list[float], list[float]] | None = None,
    memory_limit: int = MEMORY_LIMIT,
    resize: str = "crop",
) -> Data:
    """Load one of the data sets in `datasets()`, or the user's own by `package.module:function`, see `data.own`.

    `image_size` (pixels) and `channels` (1 or 3) default to the data's own, and to 64 and 3 for folders. `image_size`
    may be a function of the data's own size. `seed` orders the train split and so selects the examples in
    `train.subset(n)`; the splits themselves are always the same. `root` is the folder of torchvision's files, by
    default TRIMCORE_DATA or else data/. `normalize` is (mean, std), by default computed from the train split.
    `memory_limit` is in bytes. `resize` says how images in files become square, see `decoding.read_image`.

    Raises DataError for an unknown name, a value out of range, and missing, insufficient or unreadable data.
    """
    check_name(name)
    check_there(name)
    if is_own(name):
        return own.load_own(name, image_size=None if callable(image_size) else image_size, channels=channels, seed=seed)
    if isinstance(image_size, int) and image_size < 1:
        raise DataError(f"image_size must be at least 1, not {image_size}")
    if channels not in (None, 1, 3):
        raise DataError(f"channels must be 1 (grey) or 3 (colour), not {channels}")
    if resize not in RESIZES:
        raise DataError(f"unknown resize {resize!r}; expected one of {', '.join(RESIZES)}")
    if name == "mnist-5k":
        classes, splits, notes = mnist_5k()
    elif name in SOURCES:
        classes, splits, notes = from_torchvision(name, Path(root or os.environ.get("TRIMCORE_DATA") or "data"))
    else:
        kind, _, path = name.partition(":")
        try:
            classes, splits, notes = READERS[kind](Path(path).expanduser())
        except OSError as error:
            raise DataError(f"cannot read data {name!r}: {error.strerror or error}") from None
    own_size, channels = splits[0].image_size, channels or splits[0].channels
    image_size = image_size(own_size) if callable(image_size) else image_size or own_size
    splits = [replace(split, image_size=image_size, channels=channels) for split in splits]
    splits = [replace(split, resize=resize) if isinstance(split, Folder) else split for split in splits]
    folders = [split for split in splits if isinstance(split, Folder)]
    if sum(map(len, splits)) * channels * image_size**2 <= memory_limit:
        splits = [in_memory(split, name) for split in splits]
    train, validation, test = splits
    mean, std = normalize or _statistics(train)
    if not len(mean) == len(std) == channels or min(std) <= 0:
        raise DataError(f"normalize needs {channels} means and {channels} positive stds, not {mean} and {std}")
    skipped = tuple(sorted(set().union(*(folder.skipped for folder in folders))))
    train = train.take(stratified_order(train.labels, seed))
    return Data(
        name, classes, train, validation, test, tuple(mean), tuple(std), channels, image_size, skipped, notes, resize
    )


def _statistics(split: ImageSplit) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel in 0..1, from exact integer sums. A constant channel gets a std of 1."""
    count = 0
    total, squares = torch.zeros(2, split.channels, dtype=torch.int64)
    affordable = STATISTICS_BYTES // (split.channels * split.image_size**2) + 1
    for pixels, _ in split.blocks(min(STATISTICS_IMAGES, affordable)):
        values = pixels.transpose(0, 1).flatten(1)  # (C, B*H*W)
        count += values.shape[1]
        total += values.sum(1)
        squares += values.int().square().sum(1)
    if not count:
        raise DataError("none of the training images can be read")
    moments = list(zip(total.tolist(), squares.tolist(), strict=True))  # Python integers do not overflow
    mean = [first / count / 255 for first, _ in moments]
    std = [math.sqrt(count * second - first**2) / count / 255 or 1.0 for first, second in moments]
    return mean, std
