"""Which run began at an iteration of which other run; and deleting a run that no other run began from."""

import contextlib
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

from trimcore.errors import RunError
from trimcore.runs.folder import list_runs, open_run
from trimcore.runs.status import state_of

Parent = tuple[str, int] | None  # the run and iteration that a run began at


def parent_of(spec: Path) -> Parent:
    """Where a run began, by its spec.toml. A damaged one has no parent."""
    with contextlib.suppress(OSError, ValueError):
        parent = tomllib.loads(spec.read_text("utf-8")).get("parent")
        if isinstance(parent, dict) and isinstance(parent.get("run"), str):
            iteration = parent.get("iteration", 0)
            return parent["run"], iteration if isinstance(iteration, int) else 0
    return None


def parents(runs_folder: Path, read: Callable[[Path], Parent] = parent_of) -> dict[str, Parent]:
    """Every run, newest first -> where it began. `read` may remember what it has read."""
    return {run_id: read(runs_folder / run_id / "spec.toml") for run_id in list_runs(runs_folder)}


def children(runs_folder: Path, run_id: str, read: Callable[[Path], Parent] = parent_of) -> list[str]:
    """The runs that begin at an iteration of this one, oldest first."""
    return sorted(child for child, parent in parents(runs_folder, read).items() if parent and parent[0] == run_id)


def delete(runs_folder: Path, run_id: str) -> None:
    """Take a run away for good, with its checkpoints.

    Raises RunError for one that is active, one that another run begins at, and a folder that cannot be removed.
    """
    folder = open_run(runs_folder, run_id)
    status = state_of(folder)
    if status.active:
        raise RunError(f"run {run_id!r} is {status.state}: stop it first")
    if heirs := children(runs_folder, run_id):
        others = f" and {len(heirs) - 1} more" if len(heirs) > 1 else ""
        raise RunError(f"run {heirs[0]!r}{others} began at an iteration of {run_id!r}: delete that first")
    doomed = folder.with_name(f".deleted-{run_id}")  # in one step it is no run any more, however long removing takes
    try:
        folder.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise RunError(f"run {run_id!r} cannot be removed: {error.strerror or error}") from None
