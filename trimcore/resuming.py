"""Where a run goes on after an interruption: the last two resume points are kept, should the newest be damaged."""

import os
from pathlib import Path

from trimcore import checkpoint, runs
from trimcore.errors import CheckpointError

NEWEST, BEFORE = "resume.pt", "resume-before.pt"


def save(snapshot: dict, folder: Path) -> None:
    """Write a snapshot as the newest resume point of a run; what was the newest becomes the one before. Raises
    OSError."""
    newest, before = (folder / "checkpoints" / name for name in (NEWEST, BEFORE))
    with checkpoint.written({"format": checkpoint.FORMAT, **snapshot}, newest) as temporary:
        if newest.exists():
            os.replace(newest, before)  # a crash between these two leaves one, and it is whole
        os.replace(temporary, newest)


def find(folder: Path) -> tuple[dict | None, str]:
    """The newest resume point of a run that is not damaged, or None where it has none yet; and in words what had to be
    passed over. Raises CheckpointError, with the way out, where none is whole."""
    damaged = ""
    for name in (NEWEST, BEFORE):
        path = folder / "checkpoints" / name
        if path.exists():
            try:
                return checkpoint.read(path), damaged
            except CheckpointError as error:
                damaged = damaged or f"the newest resume point is damaged, so it goes on from the one before ({error})"
    if damaged:
        raise CheckpointError(f"no resume point of this run can be read; {_way_out(folder)}")
    return None, ""


def _way_out(folder: Path) -> str:
    last = max((event["iteration"] for event in runs.read_events(folder, ("iteration",))), default=None)
    if last is None:
        return "it had not finished an iteration yet: launch its spec.toml anew"
    return f"its finished iterations are kept: branch from one of them, {last} is the last"
