"""Sensitivities that were measured before, kept as files under a key that says of what."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from trimcore.planning.sensitivity import FRACTIONS, Point, Sensitivity
from trimcore.system.files import read_json, write_atomic

VERSION = 1  # of what is measured: another number makes old cache files unknown


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, by which a checkpoint is known."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_key(
    weights: str, data: str, image_size: int, examples: int, criterion: str,
    fractions: Sequence[float] = FRACTIONS, **more: object,
) -> str:  # fmt: skip
    """A name for the sensitivity of a network (`weights`: its digest) on some data, the same on every machine. `more`
    are further plain values on which the scores depend, such as tolerance, seed and layers."""
    what = [VERSION, weights, data, image_size, examples, criterion, [float(share) for share in fractions], more]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def save(folder: Path, key: str, sensitivity: Sensitivity) -> None:
    """Keep a sensitivity under its key; readers see the whole file or none."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"sensitivity-{key}.json", json.dumps(asdict(sensitivity)))


def load(folder: Path, key: str) -> Sensitivity | None:
    """The sensitivity kept under that key; None where there is none, or a damaged file."""
    found = read_json(folder / f"sensitivity-{key}.json")
    try:
        points = [Point(str(layer), float(share), int(kept), float(at)) for layer, share, kept, at in found["points"]]
        return Sensitivity(int(found["examples"]), float(found["base"]), points)
    except (KeyError, TypeError, ValueError):
        return None
