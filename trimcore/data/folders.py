"""Image folders with one folder per class, with or without official splits, and Labeled Faces in the Wild."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from trimcore.data import lfw
from trimcore.data.splits import Folder, Split, partition
from trimcore.data.torchvision import HELD_OUT, Parts
from trimcore.errors import DataError


def image_folder(path: Path) -> Parts:
    """Images with one folder per class, or in train/ and test/ (and optionally val/) with one folder per class in each.

    Raises DataError for any other layout.
    """
    parts = {part: path / part for part in ("train", "test", "val", "validation") if (path / part).is_dir()}
    held_out = parts.get("val") or parts.get("validation")
    if "train" in parts and held_out and "test" not in parts:
        raise DataError(f"{path} has train/ and {held_out.name}/ but no test/: add a test/ folder")
    official = "train" in parts and "test" in parts
    first = parts["train"] if official else path
    classes = tuple(_class_files(first))
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no images"
        raise DataError(f"{first} contains {found}: it needs two or more folders with images, one per class")

    def split(folder: Path) -> Folder:
        by_class = _class_files(folder)
        if not by_class or not by_class.keys() <= set(classes):
            raise DataError(f"{folder} must contain folders with images of the classes {', '.join(classes)}")
        return _folder(path, by_class, classes)

    whole = split(first)
    if len(whole) < 3:
        raise DataError(f"{first} contains only {len(whole)} images: three splits need at least 3")
    if not official:
        return classes, _split_80_10_10(whole)
    if held_out:
        return classes, [*partition(whole), *partition(split(held_out)), *partition(split(parts["test"]))]
    validation, train = partition(whole, min(HELD_OUT, max(1, len(whole) // 10)))
    return classes, [train, validation, *partition(split(parts["test"]))]


def faces(path: Path) -> Parts:
    """The people in Labeled Faces in the Wild with enough images to learn from. Raises DataError."""
    people = lfw.people_with_enough_images(path)
    return tuple(people), _split_80_10_10(_folder(path, people, tuple(people)))


def _folder(root: Path, by_class: dict[str, list[Path]], classes: tuple[str, ...]) -> Folder:
    files = [(file, classes.index(name)) for name, files in by_class.items() for file in files]
    return Folder(root, tuple(file for file, _ in files), torch.tensor([label for _, label in files]))


def _split_80_10_10(whole: Folder) -> list[Split]:
    """80 % for training, 10 % each for validation and test."""
    tenth = max(1, len(whole) // 10)
    test, validation, train = partition(whole, tenth, tenth)
    return [train, validation, test]


def _class_files(folder: Path) -> dict[str, list[Path]]:
    """Class -> image files, both sorted. Hidden folders and folders without images are skipped."""
    found = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            found[entry.name] = sorted(_images(entry))
    return {name: files for name, files in found.items() if files}


def _images(folder: Path) -> Iterator[Path]:
    """The files below a folder with an image extension. Symlinks to folders are not followed. Other special files are
    skipped, because reading a pipe would block. Broken symlinks are kept and reported later as unreadable."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _images(folder / entry.name)
            elif Path(entry.name).suffix.lower() in IMG_EXTENSIONS and (
                entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
            ):
                yield folder / entry.name
