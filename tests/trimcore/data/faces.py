"""A small folder in the layout of Labeled Faces in the Wild, with noise instead of faces."""

import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

LEARNT = {"Bea_Often": 12, "Ann_Often": 10, "Cas_Nearly": 9, "Dot_Once": 1}  # people in peopleDevTrain.txt -> images
UNSEEN = {"Eva_Other": 4, "Fay_Other": 3, "Gus_Other": 1}  # all other people -> images
SIZE = 12


def make_lfw(path: Path, images: str = "lfw-deepfunneled", folds: int = 10, count: int = 3, held_out: int = 23) -> Path:
    """Create lfw-py/ in `path`. Each fold of pairs.txt has `count` pairs of each kind, pairsDevTest.txt `held_out`."""
    root, draw, everybody = path / "lfw-py", random.Random(0), LEARNT | UNSEEN
    make_faces(root / images)
    write(root / "pairs.txt", [[folds, count], *(row for _ in range(folds) for row in rows(draw, everybody, count))])
    write(root / "pairsDevTest.txt", [[held_out], *rows(draw, UNSEEN, held_out)])
    write(root / "peopleDevTrain.txt", [[len(LEARNT)], *LEARNT.items()])
    write(root / "lfw-names.txt", sorted(everybody.items()))
    return path


def make_faces(folder: Path) -> None:
    """Write all images of all people, each different."""
    noise = np.random.default_rng(0)
    for name, number in (LEARNT | UNSEEN).items():
        (folder / name).mkdir(parents=True)
        for i in range(1, number + 1):
            pixels = noise.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}_{i:04d}.jpg")


def rows(draw: random.Random, people: dict[str, int], count: int) -> Iterable[list]:
    """`count` pairs of one person, then `count` pairs of two."""
    several = [name for name, number in people.items() if number > 1]
    for _ in range(count):
        name = draw.choice(several)
        yield [name, *draw.sample(range(1, people[name] + 1), 2)]
    for _ in range(count):
        one, other = draw.sample(list(people), 2)
        yield [one, draw.randint(1, people[one]), other, draw.randint(1, people[other])]


def write(file: Path, table: Iterable[Iterable]) -> None:
    file.write_text("".join("\t".join(map(str, row)) + "\n" for row in table))
