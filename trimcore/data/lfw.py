"""Labeled Faces in the Wild (Huang, Ramesh, Berg and Learned-Miller 2007), from a folder that the user provides.

The layout is that of torchvision's `LFWPairs` and `LFWPeople`. PATH may also be the lfw-py folder itself:

    PATH/lfw-py/lfw-deepfunneled/Ann_Other/Ann_Other_0001.jpg    or lfw_funneled/..., or lfw/... (original)
    PATH/lfw-py/pairs.txt          and the other lists: pairsDevTest.txt, peopleDevTrain.txt, ...

torchvision's classes also verify the checksum of the original archive. Users often have only the extracted folder, and
the archive can no longer be downloaded. So this module reads the files itself, with the same result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trimcore.errors import DataError

IMAGE_FOLDERS = ("lfw-deepfunneled", "lfw_funneled", "lfw")  # best aligned first
MIN_IMAGES = 10  # of a person, to learn from


@dataclass(frozen=True)
class FacePair:
    """Two images, whether they show the same person, and their fold (from 0)."""

    first: Path
    second: Path
    same: bool
    fold: int


def pairs(path: Path, file: str) -> list[FacePair]:
    """The pairs in a list: ten folds in "pairs.txt", a single one in "pairsDevTest.txt".

    The first line gives the number of folds, if there are several, and the number of pairs of each kind in a fold. Each
    fold lists its same-person pairs ("name, number, number"), then its different-person pairs ("name, number, name,
    number").

    Raises DataError, naming the file and line, for a missing or damaged list or a missing image.
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
    """The people in a list such as "peopleDevTrain.txt": name -> images.

    The first line gives the number of people. Each following line gives a name and that person's number of images.
    Raises DataError as `pairs` does.
    """
    table = _read(path, file)
    count = table.number(1, *table.row(1, 1))
    table.check_length(1 + count)
    found = {}
    for line in range(2, 2 + count):
        name, images = table.row(line, 2)
        found[name] = [table.image(line, name, str(n)) for n in range(1, 1 + table.number(line, images))]
    return dict(sorted(found.items()))


def people_with_enough_images(path: Path) -> dict[str, list[Path]]:
    """The people in "peopleDevTrain.txt" with at least MIN_IMAGES images: name -> images.

    None of them is in "pairsDevTest.txt". Raises DataError as `pairs` does, and for fewer than two such people.
    """
    listed = people(path, "peopleDevTrain.txt")
    found = {name: images for name, images in listed.items() if len(images) >= MIN_IMAGES}
    if len(found) < 2:
        most = max(map(len, listed.values()))
        wanted = f"at least two people with at least {MIN_IMAGES} images each"
        raise DataError(f"{path}: peopleDevTrain.txt must list {wanted}, not {len(found)}; nobody has more than {most}")
    return found


@dataclass(frozen=True)
class _Table:
    """A list file split into columns, with the folder of the images that it names. Lines count from 1."""

    file: Path
    images: Path
    lines: list[list[str]]

    def error(self, line: int, what: str) -> DataError:
        return DataError(f"{self.file}, line {line}: {what}")

    def check_length(self, expected: int) -> None:
        if len(self.lines) != expected:
            line = min(expected, len(self.lines)) + 1
            raise self.error(line, f"the first line implies {expected} lines, but the file has {len(self.lines)}")

    def row(self, line: int, *columns: int) -> list[str]:
        row = self.lines[line - 1]
        if len(row) not in columns:
            raise self.error(line, f"the column count should be {' or '.join(map(str, columns))}, not {len(row)}")
        return row

    def number(self, line: int, text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise self.error(line, f"expected a positive integer, not {text!r}")
        return int(text)

    def image(self, line: int, name: str, number: str) -> Path:
        image = self.images / name / f"{name}_{self.number(line, number):04d}.jpg"
        if not image.is_file():
            raise self.error(line, f"missing image {image}")
        return image


def _read(path: Path, file: str) -> _Table:
    root, images = _folders(path)
    try:
        text = (root / file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{root / file} is missing: the data set's lists belong next to its image folder") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{root / file} cannot be read: {error}") from None
    return _Table(root / file, images, [line.split() for line in text.rstrip().split("\n")])


def _folders(path: Path) -> tuple[Path, Path]:
    """The folder of the lists and the folder of the images."""
    for root in (path / "lfw-py", path):
        for name in IMAGE_FOLDERS:
            if (root / name).is_dir():
                return root, root / name
    wanted = " or ".join(f"lfw-py/{name}" for name in IMAGE_FOLDERS)
    raise DataError(f"{path} does not contain Labeled Faces in the Wild: it needs {wanted}, with one folder per person")
