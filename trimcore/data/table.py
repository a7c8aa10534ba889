"""A table of images: one row per image with its path, its label and, if the splits are given, its split."""

import warnings
from pathlib import Path

import pandas as pd
import torch

from trimcore.data.division import Parts, divide
from trimcore.data.layout import SPLIT_OF, by_use
from trimcore.data.splits import Folder
from trimcore.errors import DataError, first_line

PATH = ("path", "file", "filename", "file_name", "filepath", "image", "image_path")
LABEL = ("label", "class", "class_name", "category", "target")
SPLIT = ("split", "set", "subset", "partition")


def image_table(path: Path) -> Parts:
    """The images in a CSV file, or in a TSV file with that ending. Paths are absolute or relative to the file's folder.
    Splits have the usual names (see `data.layout`); those that are missing are made (see `data.division`).

    Raises DataError, naming the column, row and value, for a table that cannot be read this way.
    """
    table = _read(path)
    files, labels = _column(path, table, PATH, "path"), _column(path, table, LABEL, "label")
    for column in (files, labels):
        _check_filled(path, column)
    split = _column(path, table, SPLIT) if set(SPLIT) & set(table) else None
    parts = _parts(path, split) if split is not None else pd.Series("train", table.index)
    if "train" not in set(parts):
        raise DataError(f"{path} has no row to train on: give some the split 'train'")
    classes = tuple(sorted(set(labels[parts == "train"]), key=_in_order))
    if len(classes) < 2:
        raise DataError(f"{path} has only the class {classes[0]!r} to train on: it needs two or more")
    notes, splits = [], {}
    for part in parts.unique():
        rows = parts == part
        if unknown := sorted(set(labels[rows]) - set(classes)):
            raise DataError(f"{path} has no rows to train on of the classes {', '.join(unknown)}")
        if missing := [name for name in classes if name not in set(labels[rows])]:
            notes.append(f"the split {part} has no images of {', '.join(missing)}")
        numbers = torch.tensor([classes.index(label) for label in labels[rows]])
        splits[part] = Folder(path.parent, tuple(path.parent / file for file in files[rows]), numbers)
    if twice := int(files.duplicated().sum()):
        notes.append(f"{twice:,} rows name a file that another row names too: the splits may share images")
    names = {part: f"the split {part}" if split is not None else path.name for part in splits}
    divided, sizes = divide(splits, names)
    return Parts(classes, divided, (f"{len(classes)} classes; {sizes}", *notes))


def _read(path: Path) -> pd.DataFrame:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # cells that no column has
            table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig",
                                index_col=False)  # fmt: skip
    except pd.errors.ParserWarning:
        raise DataError(f"{path} has rows with more cells than the first line, which names the columns") from None
    except (ValueError, pd.errors.ParserError) as error:  # UnicodeDecodeError and EmptyDataError are ValueErrors
        raise DataError(f"{path} is not a table that can be read: {first_line(error)}") from None
    if table.empty:
        raise DataError(f"{path} has no rows")
    return pd.DataFrame({name.strip().lower(): table[name].str.strip() for name in map(str, table.columns)})


def _column(path: Path, table: pd.DataFrame, names: tuple[str, ...], what: str = "") -> "pd.Series[str]":
    found = next((name for name in names if name in table), None)
    if found is None:
        raise DataError(f"{path} has no column {what!r}, only {', '.join(map(repr, table))}; also accepted: "
                        f"{', '.join(names[1:])}")  # fmt: skip
    return table[found]


def _check_filled(path: Path, column: "pd.Series[str]") -> None:
    if (empty := column == "").any():
        raise DataError(f"{path}, row {_row(empty)}: the column {column.name!r} is empty")


def _parts(path: Path, split: "pd.Series[str]") -> "pd.Series[str]":
    found = split.str.lower().map(SPLIT_OF)
    if (unknown := found.isna()).any():
        raise DataError(f"{path}, row {_row(unknown)}: the split {split[unknown].iloc[0]!r} is none of "
                        f"{', '.join(SPLIT_OF)}")  # fmt: skip
    use = {part: name for name, part in by_use({part: part for part in found.unique()}).items()}
    return found.map(use)


def _row(which: "pd.Series[bool]") -> int:
    """The line of the first row that is true: the header is line 1."""
    return int(which.to_numpy().argmax()) + 2


def _in_order(label: str) -> tuple[int, int, str]:
    """Numbers by size, before words."""
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)
