"""Data sets of Hugging Face's package `datasets`, as `save_to_disk` leaves them."""

import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from trimcore.data.division import Parts, divide
from trimcore.data.layout import SPLIT_OF, by_use
from trimcore.data.splits import Folder
from trimcore.errors import DataError, first_line


@dataclass(frozen=True)
class Row:
    """The image in a row of a data set. Its file is in the table, or beside it."""

    table: Any  # datasets.Dataset
    column: str
    index: int
    name: str  # of the split, or of the data set

    def open(self, mode: str = "rb", /) -> BinaryIO:
        """Raises OSError and ValueError for an image that is missing."""
        image = self.table[self.index][self.column]
        if image is None:
            raise ValueError("there is no image")
        return open(image["path"], mode) if image["bytes"] is None else io.BytesIO(image["bytes"])  # type: ignore

    def __str__(self) -> str:
        return f"row {self.index} of {self.name}"


def saved_dataset(path: Path) -> Parts:
    """A data set with a column of images and one of class labels, with or without splits. Splits that are missing are
    made (see `data.division`). Raises DataError for any other, and without the package `datasets`."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise DataError("hf:PATH needs the package datasets, which is not installed: pip install datasets") from None
    try:
        found = datasets.load_from_disk(str(path), keep_in_memory=False)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a data set that save_to_disk wrote: {first_line(error)}") from None
    parts = _parts(path, dict(found)) if isinstance(found, datasets.DatasetDict) else {"train": (path.name, found)}
    names, tables = {part: name for part, (name, _) in parts.items()}, {part: own for part, (_, own) in parts.items()}
    image, label = (_column(path, tables["train"], kind) for kind in (datasets.Image, datasets.ClassLabel))
    splits = {}
    for part, table in tables.items():
        for column in {image, label} - set(table.column_names):
            raise DataError(f"{path}: the split {part} has no column {column!r}")
        numbers = torch.tensor(table[label][:], dtype=torch.int64)
        if not len(numbers) or int(numbers.min()) < 0:
            raise DataError(f"{path}: the split {part} has no labels")
        raw = table.cast_column(image, datasets.Image(decode=False))
        splits[part] = Folder(path, tuple(Row(raw, image, i, names[part]) for i in range(len(numbers))), numbers)
    classes = tuple(tables["train"].features[label].names)
    divided, sizes = divide(splits, names)
    return Parts(classes, divided, (f"{len(classes)} classes; {sizes}",))


def _parts(path: Path, found: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """For each part, its name for the user and its table."""
    known = {
        SPLIT_OF[name.lower()]: (f"the split {name}", table)
        for name, table in found.items()
        if name.lower() in SPLIT_OF
    }
    if "train" not in known:
        raise DataError(f"{path} has the splits {', '.join(found)}, but none to train on: train is needed")
    return by_use(known)


def _column(path: Path, table: Any, kind: type) -> str:
    found = [name for name, feature in table.features.items() if isinstance(feature, kind)]
    if len(found) != 1:
        have = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in table.features.items())
        raise DataError(f"{path} needs one column of the type {kind.__name__}, not {len(found)}; it has {have}")
    return str(found[0])
