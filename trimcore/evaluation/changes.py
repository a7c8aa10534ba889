"""What a trimmed network answers differently from the base: the images, and between which classes."""

from collections.abc import Generator

import pandas as pd
import torch
from torch import Tensor, nn

from trimcore.compute.generators import finished
from trimcore.data.dataset import Data, Split
from trimcore.data.splits import Folder, Resident
from trimcore.evaluation.answers import images_of, probabilities

LOST, GAINED, MOVED = KINDS = ("right to wrong", "wrong to right", "wrong to other wrong")
NUMBERS = ["image", "label", "base_answer", "trimmed_answer", "base_confidence", "trimmed_confidence", "drop"]
COLUMNS = [*NUMBERS, "change"]
DIGITS = 6  # of probabilities


def compare(base: nn.Module, trimmed: nn.Module, split: Split, data: Data, device: torch.device | str) -> pd.DataFrame:
    """The answers of two networks on a split. See `comparing`."""
    return finished(comparing(base, trimmed, split, data, device))


def comparing(
    base: nn.Module, trimmed: nn.Module, split: Split, data: Data, device: torch.device | str
) -> Generator[int, None, pd.DataFrame]:
    """`compare` as a generator that yields the number of images so far. Each network sees each image once; only a
    batch of images is in memory.

    One row for each readable image, with COLUMNS. `image` is its place in the split; `label` and the answers are class
    numbers, where ties go to the first class; confidences are the probabilities of the answers, 0..1. `drop` is by how
    much trimming lowered the probability of the base's answer. `change` is one of KINDS, or "" if the answers agree.
    Images with a change come first, the largest drop first.

    Raises DataError if there is no image, and TrimError for scores that are no probabilities.
    """
    pieces: list[list[Tensor]] = []
    done = 0
    for pixels, places in images_of(split):
        before, after = (probabilities(network, pixels, data, device) for network in (base, trimmed))
        confidence, answer = before.max(1)
        kept = after.gather(1, answer[:, None])[:, 0]  # what is left of the base's answer
        now, new = after.max(1)
        pieces.append([places, split.labels[places], answer, new, confidence, now, confidence - kept])
        done += len(places)
        yield done
    columns = [torch.cat(column).numpy() for column in zip(*pieces, strict=True)]
    table = pd.DataFrame(dict(zip(NUMBERS, columns, strict=True))).round(DIGITS)
    table["change"] = ""
    changed = table.base_answer != table.trimmed_answer
    was, now_right = (table[name] == table.label for name in ("base_answer", "trimmed_answer"))
    for kind, which in zip(KINDS, (was, now_right, ~was & ~now_right), strict=True):
        table.loc[changed & which, "change"] = kind
    order = table.assign(same=~changed, growth=-table["drop"]).sort_values(["same", "growth", "image"], kind="stable")
    return table.loc[order.index].reset_index(drop=True)


def changed(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of images whose answers differ, the largest drop first."""
    return table[table.change != ""]


def kinds(table: pd.DataFrame) -> dict[str, int]:
    """The number of images of each of KINDS."""
    counts = table.change.value_counts()
    return {kind: int(counts.get(kind, 0)) for kind in KINDS}


def pairs(table: pd.DataFrame) -> pd.DataFrame:
    """The class pairs between which answers changed, the most frequent first: `base_answer`, `trimmed_answer`, a column
    for each of KINDS, and `images`, the sum of these. Ties go to the first classes."""
    rows = changed(table)
    counts = pd.DataFrame({kind: (rows.change == kind).astype(int) for kind in KINDS})
    found = counts.groupby([rows.base_answer, rows.trimmed_answer]).sum()
    found["images"] = found.sum(axis=1)
    return found.reset_index().sort_values("images", ascending=False, kind="stable").reset_index(drop=True)


def named(table: pd.DataFrame, split: Split, data: Data) -> pd.DataFrame:
    """The table for people: with the names of the classes, and of folders the `file` of each image."""
    names = {column: table[column].map(lambda number: data.classes[number]) for column in NUMBERS[1:4]}
    files = [split.name(image) for image in table.image] if isinstance(split, Folder | Resident) else ""
    shown = table.assign(**names)
    shown.insert(1, "file", files)
    return shown
