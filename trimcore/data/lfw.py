"""Labeled Faces in the Wild (Huang, Ramesh, Berg and Learned-Miller 2007), from a folder that the user brings.

It is laid out as torchvision's `LFWPairs` and `LFWPeople` want it; PATH may also be the folder lfw-py itself:

    PATH/lfw-py/lfw-deepfunneled/Ann_Other/Ann_Other_0001.jpg    or lfw_funneled/..., or lfw/..., as they were
    PATH/lfw-py/pairs.txt          and the other lists: pairsDevTest.txt, peopleDevTrain.txt, ...

Torchvision's classes also check the sum of the archive that the images once came in. Whoever has the folder often lacks
that archive, and it can no longer be downloaded. So the files are read here, with the same result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trimcore.errors import DataError

IMAGE_FOLDERS = ("lfw-deepfunneled", "lfw_funneled", "lfw")  # the best aligned faces first
OFTEN = 10  # images of a person


@dataclass(frozen=True)
class FacePair:
    """Two images, whether they show the same person, and the fold that they belong to (from 0)."""

    first: Path
    second: Path
    same: bool
    fold: int


def pairs(path: Path, file: str) -> list[FacePair]:
    """The pairs of a list: the ten folds of "pairs.txt", or the single one of "pairsDevTest.txt".

    The first line has the number of folds, where there are several, and of pairs of each kind in a fold. Each fold has
    first its pairs of one person ("name, number, number"), then those of two ("name, number, name, number").

    Raises DataError, naming file and line, for a list that is missing or damaged and an image that is not there.
    """
    table = _read(path, file)
    folds, count = (table.number(1, text) for text in ["1", *table.row(1, 1, 2)][-2:])
    table.check_length(1 + folds * 2 * count)
    return list(_pairs(table, folds, count))


def _pairs(table: "_Table", folds: int, count: int) -> Iterator[FacePair]:
    for number in range(folds * 2 * count):
        line, fold, same = number + 2, number // (2 * count), number % (2 * count) < count
        row = table.row(line, 3 if same else 4)
        first = table.image(line, row[0], row[1])
        second = table.image(line, row[0] if same else row[2], row[-1])
        yield FacePair(first, second, same, fold)


def people(path: Path, file: str) -> dict[str, list[Path]]:
    """The people of a list such as "peopleDevTrain.txt", by name, and the images of each.

    The first line has the number of people, each other line a name and the number of that person's images. Raises
    DataError as `pairs` does.
    """
    table = _read(path, file)
    count = table.number(1, *table.row(1, 1))
    table.check_length(1 + count)
    found = {}
    for line in range(2, 2 + count):
        name, images = table.row(line, 2)
        found[name] = [table.image(line, name, str(n)) for n in range(1, 1 + table.number(line, images))]
    return dict(sorted(found.items()))


def often_photographed(path: Path) -> dict[str, list[Path]]:
    """The people, by name, whom a network can learn to know: those of "peopleDevTrain.txt" with OFTEN or more images.
    None of them is in "pairsDevTest.txt". Raises DataError as `pairs` does, and for fewer than two such people."""
    known = people(path, "peopleDevTrain.txt")
    found = {name: images for name, images in known.items() if len(images) >= OFTEN}
    if len(found) < 2:
        most = max(map(len, known.values()))
        wanted = f"two or more people with {OFTEN} or more images to learn from"
        raise DataError(f"{path}: peopleDevTrain.txt should name {wanted}, not {len(found)}; at most {most} are of one")
    return found


@dataclass(frozen=True)
class _Table:
    """A list in the folder: the columns of each line, and where the images are that it names. Lines count from 1."""

    file: Path
    images: Path
    lines: list[list[str]]

    def wrong(self, line: int, what: str) -> DataError:
        return DataError(f"{self.file}, line {line}: {what}")

    def check_length(self, expected: int) -> None:
        if len(self.lines) != expected:
            line = min(expected, len(self.lines)) + 1
            raise self.wrong(line, f"the first line promises {expected} lines, but there are {len(self.lines)}")

    def row(self, line: int, *columns: int) -> list[str]:
        row = self.lines[line - 1]
        if len(row) not in columns:
            raise self.wrong(line, f"the number of columns should be {' or '.join(map(str, columns))}, not {len(row)}")
        return row

    def number(self, line: int, text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise self.wrong(line, f"{text!r} should be a number from 1 on")
        return int(text)

    def image(self, line: int, name: str, number: str) -> Path:
        image = self.images / name / f"{name}_{self.number(line, number):04d}.jpg"
        if not image.is_file():
            raise self.wrong(line, f"there is no image {image}")
        return image


def _read(path: Path, file: str) -> _Table:
    root, images = _folders(path)
    try:
        text = (root / file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{root / file} is not there: the lists of the data set belong next to its images") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{root / file} cannot be read: {error}") from None
    return _Table(root / file, images, [line.split() for line in text.rstrip().split("\n")])


def _folders(path: Path) -> tuple[Path, Path]:
    """The folder of the lists, and that of the images."""
    for root in (path / "lfw-py", path):
        for name in IMAGE_FOLDERS:
            if (root / name).is_dir():
                return root, root / name
    wanted = ", ".join(f"lfw-py/{name}" for name in IMAGE_FOLDERS)
    raise DataError(
        f"{path} holds no Labeled Faces in the Wild: it needs one of {wanted}, with a folder for each person"
    )
