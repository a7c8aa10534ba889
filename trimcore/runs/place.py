"""The place of a run in the queue: its rank, and whether it is held. Whoever moves the run writes it to queue.json."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trimcore.system.files import read_json, write_atomic

LARGEST = 1e15  # of a rank: beyond this, neighbouring ranks would become equal


@dataclass(frozen=True)
class Place:
    """Runs with a lower rank go first. A held run waits, and the others pass it."""

    rank: float
    held: bool = False


def place_of(folder: Path, queued_at: float, read: Callable[[Path], dict[str, Any]] = read_json) -> Place:
    """The place of a run that was queued at this time. A run that nobody has moved, or whose file is damaged, has its
    time as rank and is not held. `read` may cache."""
    found = read(folder / "queue.json")
    rank, held = time_in(found, "rank"), found.get("held")
    return Place(queued_at) if rank is None or not isinstance(held, bool) else Place(rank, held)


def time_in(values: dict[str, Any], name: str) -> float | None:
    """A time or a rank in the values of a JSON file. None if it is missing or no such number."""
    value = values.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < LARGEST:  # False for NaN
        return None
    return float(value)


def write_place(folder: Path, place: Place) -> None:
    """Raises OSError."""
    write_atomic(folder / "queue.json", json.dumps(asdict(place)))
