"""A cache of measured sensitivities: files named by a key that identifies what was measured."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from trimcore.planning.sensitivity import FRACTIONS, Point, Sensitivity
from trimcore.system.files import read_json, write_atomic
from trimcore.tables.metric import ACCURACY, Metric

VERSION = 1  # of the measurement; raising it invalidates old cache files


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, which identifies a checkpoint."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_key(
    weights: str, data: str, image_size: int, examples: int, criterion: str,
    fractions: Sequence[float] = FRACTIONS, **more: object,
) -> str:  # fmt: skip
    """A key for the sensitivity of a network (`weights`: its digest) on some data, the same on every machine. `more`
    are further plain values that the scores depend on, such as tolerance, seed and layers."""
    parts = [VERSION, weights, data, image_size, examples, criterion, [float(share) for share in fractions], more]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def save(folder: Path, key: str, sensitivity: Sensitivity) -> None:
    """Save a sensitivity under its key. The write is atomic: readers see the whole file or none."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"sensitivity-{key}.json", json.dumps(asdict(sensitivity)))


def load(folder: Path, key: str) -> Sensitivity | None:
    """The sensitivity saved under the key; None if the file is missing or damaged."""
    found = read_json(folder / f"sensitivity-{key}.json")
    try:
        points = [Point(str(layer), float(share), int(kept), float(at)) for layer, share, kept, at in found["points"]]
        metric = Metric.of(found["metric"]) if "metric" in found else ACCURACY
        return Sensitivity(int(found["examples"]), float(found["base"]), points, metric)
    except (KeyError, TypeError, ValueError):
        return None
