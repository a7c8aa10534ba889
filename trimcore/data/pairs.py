"""Image pairs for verification: do both images show the same class or person?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trimcore.data import lfw
from trimcore.data.dataset import Data
from trimcore.data.items import Items
from trimcore.data.registry import MEMORY_LIMIT, check_there
from trimcore.data.splits import Folder, ImageSplit, in_memory, stratified_order
from trimcore.errors import DataError

FOLDS = 10
PAIRS = 300  # of each kind in a fold, as in Labeled Faces in the Wild
FOLD_IMAGES = 2_000  # a fold draws from at most this many images, which keeps the table of all their pairs small


@dataclass(frozen=True, eq=False)
class PairSet:
    """Image pairs: `first` and `second` (P,) int64 index into `images`, which contains each image once.

    `same` (P,) bool is true for two images of the same class or person; `fold` (P,) int64 counts from 0.
    """

    name: str
    images: ImageSplit
    first: Tensor
    second: Tensor
    same: Tensor
    fold: Tensor

    def __len__(self) -> int:
        return len(self.same)


def load_pairs(name: str, data: Data) -> PairSet:
    """Load named pairs, with images in the size and channels of `data`.

    "test": pairs of test images. Each of ten folds gets its own stratified tenth of the images and draws up to 300
    same-class pairs and as many different-class pairs, without repeats. The pairs are the same for every run. This is
    easier than Labeled Faces in the Wild: the network has not seen these images, but it was trained on their classes.

    "lfw:PATH": the 6,000 pairs of Labeled Faces in the Wild in their ten official folds (pairs.txt). A network trained
    on `lfw:PATH` itself has seen people from those folds and would be tested on known faces. It therefore gets the
    1,000 pairs of pairsDevTest.txt, which shares no people with peopleDevTrain.txt. They are dealt round-robin into ten
    folds, same-person and different-person pairs separately. A person may appear in several folds, but the folds only
    select a threshold.

    Raises DataError for an unknown name, a fold without pairs of both kinds, and missing or damaged files.
    """
    kind, _, path = name.partition(":")
    if name == "test":
        return _of_test_split(data)
    if kind == "lfw" and path:
        check_there(name)
        return _of_faces(name, Path(path).expanduser(), data)
    raise DataError(f"unknown pairs {name!r}; expected 'test' or 'lfw:PATH'")


def _of_test_split(data: Data) -> PairSet:
    if isinstance(data.test, Items):
        raise DataError("pairs 'test' are of images; data of your own cannot be paired")
    tenths, drawn = stratified_order(data.test.labels).tensor_split(FOLDS), []
    for fold, tenth in enumerate(tenths):
        images = tenth[:FOLD_IMAGES]
        pairs, same = _draw(data.test.labels[images], np.random.RandomState(fold))
        if not len(same):
            raise DataError(
                f"pairs 'test': fold {fold + 1} of {FOLDS} has {len(images)} test images but no pairs of both kinds: "
                "add test images, several of one class per fold"
            )
        drawn.append((images[pairs], same, torch.full_like(same, fold, dtype=torch.int64)))
    pairs, same, folds = map(torch.cat, zip(*drawn, strict=True))
    used, place = torch.unique(pairs, return_inverse=True)
    return PairSet("test", data.test.take(used), place[:, 0], place[:, 1], same, folds)


def _draw(labels: Tensor, random: np.random.RandomState) -> tuple[Tensor, Tensor]:
    """Draw pairs (P, 2) of images with these labels, and whether each is of one class (P,) bool.

    Pairs are distinct, with equally many of both kinds and at most PAIRS of each. numpy's RandomState draws the same
    numbers on every machine and version.
    """
    first, second = torch.triu_indices(len(labels), len(labels), offset=1)
    alike = (labels[first] == labels[second]).numpy()
    kinds = [np.flatnonzero(alike), np.flatnonzero(~alike)]
    count = min(PAIRS, *map(len, kinds))
    drawn = torch.from_numpy(np.concatenate([random.choice(kind, count, replace=False) for kind in kinds]))
    return torch.stack([first[drawn], second[drawn]], 1), torch.arange(2 * count) < count


def _of_faces(name: str, path: Path, data: Data) -> PairSet:
    trained_on_faces = data.name.startswith("lfw:")
    found = lfw.pairs(path, "pairsDevTest.txt" if trained_on_faces else "pairs.txt")
    same = torch.tensor([pair.same for pair in found])
    fold = torch.where(same, same.cumsum(0), (~same).cumsum(0)) - 1  # index among the pairs of its kind
    fold = fold % FOLDS if trained_on_faces else torch.tensor([pair.fold for pair in found])
    files = sorted({file for pair in found for file in (pair.first, pair.second)})
    number = {file: i for i, file in enumerate(files)}
    first, second = torch.tensor([[number[pair.first], number[pair.second]] for pair in found]).unbind(1)
    return PairSet(name, _decoded(name, path, files, data), first, second, same, fold)


def _decoded(name: str, path: Path, files: list[Path], data: Data) -> ImageSplit:
    """Decode the images into memory if they fit, because every iteration of a run uses them."""
    images = Folder(path, tuple(files), torch.arange(len(files)), data.image_size, data.channels, data.resize)
    if len(files) * data.channels * data.image_size**2 > MEMORY_LIMIT:
        return images
    decoded = in_memory(images, name)
    if images.skipped:
        raise DataError(f"pairs {name!r}: {path / min(images.skipped)} is not a readable image")
    return decoded
