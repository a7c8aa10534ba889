"""Where a run continues after an interruption. The last two resume points are kept in case the newest is damaged."""

import os
from pathlib import Path
from typing import Any

from trimcore import runs
from trimcore.errors import CheckpointError
from trimcore.files import checkpoint
from trimcore.files.weights import read

NEWEST, PREVIOUS = "resume.pt", "resume-before.pt"


def save(snapshot: dict[str, Any], folder: Path, events: int) -> None:
    """Write a snapshot as the newest resume point, and keep the former newest as the previous one. `events` is the
    number of events recorded so far. Raises OSError."""
    newest, previous = (folder / "checkpoints" / name for name in (NEWEST, PREVIOUS))
    with checkpoint.temporary_file({"format": checkpoint.FORMAT, "events": events, **snapshot}, newest) as temporary:
        if newest.exists():
            os.replace(newest, previous)  # a crash between the two replacements leaves one intact resume point
        os.replace(temporary, newest)


def find(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The newest intact resume point whose events are all recorded, or None if the run has none yet; and a message
    about what was skipped, or "". Raises CheckpointError, saying what to do instead, if none can be read.

    If the machine crashes, the last lines of events.jsonl may be lost. A run resumed from a point after them would
    never get their rows back.
    """
    recorded = max((event.get("seq", 0) for event in runs.read_events(folder)), default=0)
    found, message = [], ""
    for name in (NEWEST, PREVIOUS):
        path = folder / "checkpoints" / name
        if path.exists():
            try:
                snapshot = read(path)
            except CheckpointError as error:
                message = message or f"the newest resume point is damaged; resuming from the previous one ({error})"
                continue
            if snapshot.pop("events", 0) <= recorded:
                return snapshot, message
            found.append(snapshot)
            message = message or "the last recorded events are lost; resuming from the previous resume point"
    if found:
        return found[0], "some recorded events are lost: the tables will lack their rows"
    if message:
        raise CheckpointError(f"no resume point of this run can be read; {_alternative(folder)}")
    return None, ""


def _alternative(folder: Path) -> str:
    last = max((event["iteration"] for event in runs.read_events(folder, ("iteration",))), default=None)
    if last is None:
        return "no iteration has finished yet: launch its spec.toml again"
    return f"branch from one of its finished iterations instead, the last is {last}"
