"""The pairs of images that a verification asks about: the same class, or person, or not?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trimcore.data import lfw
from trimcore.data.dataset import Data
from trimcore.data.registry import MEMORY_LIMIT, check_there
from trimcore.data.splits import Folder, Split, in_memory, stratified_order
from trimcore.errors import DataError

FOLDS = 10
PAIRS = 300  # of each kind in a fold, as in Labeled Faces in the Wild
FOLD_IMAGES = 2_000  # a fold draws from no more images than this, so that the table of all their pairs stays small


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs of images: `first` and `second` (P,) int64 are indices into `images`, which has each image once.

    `same` (P,) bool is true for two images of one class or person; `fold` (P,) int64 counts from 0.
    """

    name: str
    images: Split
    first: Tensor
    second: Tensor
    same: Tensor
    fold: Tensor

    def __len__(self) -> int:
        return len(self.same)


def load_pairs(name: str, data: Data) -> PairSet:
    """The pairs of that name, with images of the size and channels of `data`.

    "test": pairs of images of the test split. Each of ten folds has a tenth of the images to itself, with the classes
    in proportion, and draws up to 300 pairs of one class and as many of two classes, none twice. They are the same for
    every run. This is easier than what Labeled Faces in the Wild asks: the network has not seen these images, but it
    was trained on their classes.

    "lfw:PATH": the 6,000 pairs of Labeled Faces in the Wild in their ten official folds (pairs.txt). A network that is
    trained on `lfw:PATH` itself has seen people of those folds, and would be tested on known faces. Its pairs are
    therefore the 1,000 of pairsDevTest.txt, none of whose people are in peopleDevTrain.txt. They are dealt into ten
    folds in turn, those of one person and those of two each for themselves; a person may be in several folds, but the
    folds only choose a threshold.

    Raises DataError for an unknown name, a fold without pairs of both kinds, and files that are missing or damaged.
    """
    kind, _, path = name.partition(":")
    if name == "test":
        return _of_test_split(data)
    if kind == "lfw" and path:
        check_there(name)
        return _of_faces(name, Path(path).expanduser(), data)
    raise DataError(f"unknown pairs {name!r}; there are 'test' and 'lfw:PATH'")


def _of_test_split(data: Data) -> PairSet:
    tenths, drawn = stratified_order(data.test.labels).tensor_split(FOLDS), []
    for fold, tenth in enumerate(tenths):
        images = tenth[:FOLD_IMAGES]
        pairs, same = _draw(data.test.labels[images], np.random.RandomState(fold))
        if not len(same):
            raise DataError(
                f"pairs 'test': fold {fold + 1} of {FOLDS} has {len(images)} images of the test split and no pairs of "
                "both kinds: they need more test images, several of one class in each fold"
            )
        drawn.append((images[pairs], same, torch.full_like(same, fold, dtype=torch.int64)))
    pairs, same, folds = map(torch.cat, zip(*drawn, strict=True))
    used, place = torch.unique(pairs, return_inverse=True)
    return PairSet("test", data.test.take(used), place[:, 0], place[:, 1], same, folds)


def _draw(labels: Tensor, random: np.random.RandomState) -> tuple[Tensor, Tensor]:
    """Pairs (P, 2) of the images with these labels, no two alike, and which are of one class (P,) bool: equally many of
    both kinds, at most PAIRS of each. numpy's RandomState draws the same on every machine and version."""
    first, second = torch.triu_indices(len(labels), len(labels), offset=1)
    alike = (labels[first] == labels[second]).numpy()
    kinds = [np.flatnonzero(alike), np.flatnonzero(~alike)]
    count = min(PAIRS, *map(len, kinds))
    drawn = torch.from_numpy(np.concatenate([random.choice(kind, count, replace=False) for kind in kinds]))
    return torch.stack([first[drawn], second[drawn]], 1), torch.arange(2 * count) < count


def _of_faces(name: str, path: Path, data: Data) -> PairSet:
    known = data.name.startswith("lfw:")
    found = lfw.pairs(path, "pairsDevTest.txt" if known else "pairs.txt")
    same = torch.tensor([pair.same for pair in found])
    fold = torch.where(same, same.cumsum(0), (~same).cumsum(0)) - 1  # the number of a pair among those of its kind
    fold = fold % FOLDS if known else torch.tensor([pair.fold for pair in found])
    files = sorted({file for pair in found for file in (pair.first, pair.second)})
    number = {file: i for i, file in enumerate(files)}
    first, second = torch.tensor([[number[pair.first], number[pair.second]] for pair in found]).unbind(1)
    return PairSet(name, _decoded(name, path, files, data), first, second, same, fold)


def _decoded(name: str, path: Path, files: list[Path], data: Data) -> Split:
    """In memory where there is room, since every iteration of a run looks at them."""
    images = Folder(path, tuple(files), torch.arange(len(files)), data.image_size, data.channels)
    if len(files) * data.channels * data.image_size**2 > MEMORY_LIMIT:
        return images
    decoded = in_memory(images, name)
    if images.skipped:
        raise DataError(f"pairs {name!r}: {path / min(images.skipped)} is not a readable image")
    return decoded
