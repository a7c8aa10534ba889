"""Find data sets in folders, by looking at names only."""

import csv
import os
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS

from trimcore.data.layout import NOT_DATA, is_split_name
from trimcore.data.table import LABEL, PATH

DEPTH = 5  # of folders below those that are searched
SECONDS = 2.0
FOLDERS = 5_000  # entries of a folder that are looked at for data sets ...
IMAGES = 200  # ... and for images: its first ones tell what it holds
NOT_SEARCHED = (*NOT_DATA, "node_modules", "site-packages", "__pycache__", "venv")


def find_data(roots: Iterable[Path], seconds: float = SECONDS) -> list[str]:
    """The data sets below some folders, as names for `load`, the least deep first. A folder that is a data set is not
    searched further. Hidden folders and those of installed packages are left out. Stops after `seconds`."""
    found: list[str] = []
    waiting = deque((Path(root), 0) for root in roots)
    until = time.monotonic() + seconds
    while waiting and time.monotonic() < until:
        folder, depth = waiting.popleft()
        folders, files = _entries(folder, FOLDERS)
        found += [f"images:{folder / name}" for name in files if _is_table(folder / name)]
        if "dataset_dict.json" in files or {"dataset_info.json", "state.json"} <= set(files):
            found.append(f"hf:{folder}")
        elif _holds_classes(folder, folders):
            found.append(f"imagefolder:{folder}")
        elif depth < DEPTH:
            waiting.extend((folder / name, depth + 1) for name in folders)
    return found


def _entries(folder: Path, most: int) -> tuple[list[str], list[str]]:
    """The names of the folders and of the files among the first entries of a folder, sorted. Links to folders are left
    out."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(most), entries, strict=False):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file():
                    files.append(entry.name)
    except OSError:
        return [], []
    folders = [name for name in folders if not name.startswith(".") and name not in NOT_SEARCHED]
    return sorted(folders), sorted(files)


def _holds_classes(folder: Path, folders: list[str]) -> bool:
    """Whether two folders in it contain images, or a split of it has two such folders."""
    if sum(_has_images(folder / name) for name in folders) > 1:
        return True
    splits = [folder / name for name in folders if is_split_name(name)]
    return any(sum(_has_images(split / name) for name in _entries(split, IMAGES)[0]) > 1 for split in splits)


def _has_images(folder: Path) -> bool:
    return any(Path(name).suffix.lower() in IMG_EXTENSIONS for name in _entries(folder, IMAGES)[1])


def _is_table(path: Path) -> bool:
    """Whether the first line of a CSV or TSV file has the columns that `table.image_table` needs."""
    if path.suffix.lower() not in (".csv", ".tsv"):
        return False
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader([file.readline(10_000)], delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    except (OSError, ValueError, csv.Error, StopIteration):
        return False
    names = {name.strip().lower() for name in header}
    return bool(names & set(PATH)) and bool(names & set(LABEL))
