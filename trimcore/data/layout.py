"""How a folder of images is laid out: which folders are splits, and which are classes."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from torchvision.datasets.folder import IMG_EXTENSIONS

from trimcore.errors import DataError

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
    "evaluation": ("eval", "evaluation"),  # the test split, or the validation split beside one
}
SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
T = TypeVar("T")
NOT_DATA = ("__MACOSX",)  # folders that archives contain beside the data


@dataclass(frozen=True)
class Layout:
    """`classes_in` is the folder of classes, by split: only "train" if nothing is split yet. `official` says whether
    the splits are folders. `notes` say what was decided, one sentence each."""

    root: Path
    classes_in: dict[str, Path]
    official: bool = False
    notes: list[str] = field(default_factory=list)

    def name(self, part: str) -> str:
        """The folder of a split as the user knows it, such as "data/train/"."""
        return _shown(self.classes_in[part], self.root)


def find_layout(path: Path) -> Layout:
    """Find the splits in a folder, by the usual names and in any capitals, such as Train and valid, or seg_train and
    seg_test. Folders that archives put around everything are entered. A folder that contains images directly is a
    class, whatever its name is.

    Raises DataError if there are splits, but none to train on.
    """
    notes: list[str] = []
    root = _inside(path)
    if root != path:
        notes.append(f"looked in {_shown(root, path)}, the only folder with images")
    folders = folders_with_images(root)
    splits = [folder for folder in folders if _split_name(folder) and _is_split(folder)]
    unknown = [folder for folder in folders if not _split_name(folder)]
    chosen = _chosen(splits)
    if len(splits) > 1 and not chosen and len(unknown) < 2:
        found = " and ".join(_shown(folder, path) for folder in splits)
        raise DataError(f"{root} has {found}, but nothing to train on: add train/")
    if len(chosen) == 1 and len(unknown) > 1:
        notes.append(f"{_shown(chosen['train'], path)} is a class here, because there are classes beside it")
        chosen = {}
    if not chosen:
        return Layout(path, {"train": root}, notes=notes)
    for name in sorted(entry.name for entry in root.iterdir() if is_split_name(entry.name) and entry.is_dir()):
        if root / name not in folders:
            notes.append(f"{_shown(root / name, path)} is left out: it has no images")
    taken = " and ".join(_shown(folder, path) for folder in chosen.values())
    for folder in folders:
        if folder not in chosen.values():
            flat = _split_name(folder) and folder not in splits
            reason = "its images are in no class" if flat else f"the splits are {taken}"
            notes.append(f"{_shown(folder, path)} is left out: {reason}")
    return Layout(path, {part: _inside(folder) for part, folder in by_use(chosen).items()}, True, notes)


def images_by_class(folder: Path) -> dict[str, list[Path]]:
    """Class -> image files, both sorted. Hidden folders and folders without images are skipped."""
    return {entry.name: sorted(_images(entry)) for entry in folders_with_images(folder)}


def images_below(folder: Path) -> list[Path]:
    """All image files at any depth, sorted."""
    return sorted(_images(folder))


def folders_with_images(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, that contain images at any depth. Hidden ones are skipped."""
    entries = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return [entry for entry in entries if entry.name not in NOT_DATA and any(True for _ in _images(entry))]


def _inside(folder: Path) -> Path:
    """Enter folders that contain nothing but one folder of folders with images."""
    while not _has_images(folder):
        folders = folders_with_images(folder)
        if len(folders) != 1 or not folders_with_images(folders[0]):
            break
        folder = folders[0]
    return folder


def _chosen(folders: list[Path]) -> dict[str, Path]:
    """The folder of each split, of those whose names follow one pattern. {} if there is none to train on."""
    patterns: dict[tuple[str, ...], dict[str, Path]] = {}
    named = [(found, folder) for folder in folders if (found := _split_name(folder))]
    for (part, _, pattern), folder in sorted(named, key=lambda pair: pair[0][1]):  # the most usual names first
        patterns.setdefault(pattern, {}).setdefault(part, folder)
    return next((patterns[pattern] for pattern in sorted(patterns) if "train" in patterns[pattern]), {})


def _split_name(folder: Path) -> tuple[str, int, tuple[str, ...]] | None:
    """The split that a folder's name stands for, the place of its word in SPLIT_NAMES, and the rest of the name: the
    splits of one data set share it."""
    words = re.split(r"([^a-z]+)", folder.name.lower())
    found = [
        (part, names.index(word), (*words[:i], "*", *words[i + 1 :]))
        for i, word in enumerate(words)
        for part, names in SPLIT_NAMES.items()
        if word in names
    ]
    return found[0] if len(found) == 1 else None


def is_split_name(name: str) -> bool:
    """Whether a folder's name stands for a split."""
    return _split_name(Path(name)) is not None


def _is_split(folder: Path) -> bool:
    """Whether a folder contains classes. Single images beside several classes do not count."""
    inside = _inside(folder)
    classes = folders_with_images(inside)
    return len(classes) > 1 or (len(classes) == 1 and not _has_images(inside))


def by_use(parts: dict[str, T]) -> dict[str, T]:
    """Give "evaluation" the use that is free: test, or else validation. Raises DataError if neither is."""
    used = dict(parts)
    if evaluation := used.pop("evaluation", None):
        free = [part for part in ("test", "validation") if part not in used]
        if not free:
            raise DataError(f"there are four splits, {', '.join(parts)}, and a run has three: take one out")
        used[free[0]] = evaluation
    return used


def _shown(folder: Path, root: Path) -> str:
    return f"{folder.relative_to(root).as_posix()}/"


def _has_images(folder: Path) -> bool:
    return any(True for _ in _images(folder, deep=False))


def _images(folder: Path, deep: bool = True) -> Iterator[Path]:
    """The files in a folder with an image extension, and, if `deep`, those below it. Symlinks to folders are not
    followed. Other special files are skipped, because reading a pipe would block. Broken symlinks are kept and
    reported later as unreadable."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if deep:
                    yield from _images(folder / entry.name)
            elif Path(entry.name).suffix.lower() in IMG_EXTENSIONS and (
                entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
            ):
                yield folder / entry.name
