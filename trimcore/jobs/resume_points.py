"""Where a run goes on after an interruption: the last two resume points are kept, should the newest be damaged."""

import os
from pathlib import Path
from typing import Any

from trimcore import runs
from trimcore.errors import CheckpointError
from trimcore.files import checkpoint
from trimcore.files.weights import read

NEWEST, BEFORE = "resume.pt", "resume-before.pt"


def save(snapshot: dict[str, Any], folder: Path, events: int) -> None:
    """Write a snapshot as the newest resume point of a run, of which so many events are recorded; what was the newest
    becomes the one before. Raises OSError."""
    newest, before = (folder / "checkpoints" / name for name in (NEWEST, BEFORE))
    with checkpoint.written({"format": checkpoint.FORMAT, "events": events, **snapshot}, newest) as temporary:
        if newest.exists():
            os.replace(newest, before)  # a crash between these two leaves one, and it is whole
        os.replace(temporary, newest)


def find(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The newest resume point that is whole and whose events are all there, or None where a run has none yet; and in
    words what had to be passed over. Raises CheckpointError, with the way out, where none can be read.

    A machine that goes down may take the last lines of a file with it: what is resumed from a point after them would
    lack their rows for good.
    """
    recorded = max((event.get("seq", 0) for event in runs.read_events(folder)), default=0)
    found, said = [], ""
    for name in (NEWEST, BEFORE):
        path = folder / "checkpoints" / name
        if path.exists():
            try:
                snapshot = read(path)
            except CheckpointError as error:
                said = said or f"the newest resume point is damaged, so it goes on from the one before ({error})"
                continue
            if snapshot.pop("events", 0) <= recorded:
                return snapshot, said
            found.append(snapshot)
            said = said or "the last recorded events are lost, so it goes on from the resume point before"
    if found:
        return found[0], "some recorded events are lost: what they told is missing in the tables"
    if said:
        raise CheckpointError(f"no resume point of this run can be read; {_way_out(folder)}")
    return None, ""


def _way_out(folder: Path) -> str:
    last = max((event["iteration"] for event in runs.read_events(folder, ("iteration",))), default=None)
    if last is None:
        return "it had not finished an iteration yet: launch its spec.toml anew"
    return f"its finished iterations are kept: branch from one of them, {last} is the last"
