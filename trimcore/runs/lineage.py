"""Which run branches from which iteration of another run, and how to delete a run without branches."""

import contextlib
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

from trimcore.errors import RunError
from trimcore.runs.folder import list_runs, open_run
from trimcore.runs.shipped import check_own
from trimcore.runs.status import state_of

Parent = tuple[str, int] | None  # the run and iteration that a run branches from


def parent_of(spec: Path) -> Parent:
    """The parent of a run according to its spec.toml. None if that file is damaged."""
    with contextlib.suppress(OSError, ValueError):
        parent = tomllib.loads(spec.read_text("utf-8")).get("parent")
        if isinstance(parent, dict) and isinstance(parent.get("run"), str):
            iteration = parent.get("iteration", 0)
            return parent["run"], iteration if isinstance(iteration, int) else 0
    return None


def parents(runs_folder: Path, read: Callable[[Path], Parent] = parent_of) -> dict[str, Parent]:
    """Every run, newest first -> its parent. `read` may cache."""
    return {run_id: read(runs_folder / run_id / "spec.toml") for run_id in list_runs(runs_folder)}


def children(runs_folder: Path, run_id: str, read: Callable[[Path], Parent] = parent_of) -> list[str]:
    """The runs that branch from an iteration of this one, oldest first."""
    return sorted(child for child, parent in parents(runs_folder, read).items() if parent and parent[0] == run_id)


def delete(runs_folder: Path, run_id: str) -> None:
    """Delete a run permanently, with its checkpoints.

    Raises RunError for the example, if the run is active, if another run branches from it, or if its folder cannot
    be removed.
    """
    folder = open_run(runs_folder, run_id)
    check_own(folder)
    status = state_of(folder)
    if status.active:
        raise RunError(f"run {run_id!r} is {status.state}: stop it first")
    if branches := children(runs_folder, run_id):
        others = f" and {len(branches) - 1} more" if len(branches) > 1 else ""
        raise RunError(f"run {run_id!r} has branches: delete {branches[0]!r}{others} first")
    deleted = folder.with_name(f".deleted-{run_id}")  # the rename is atomic: no reader sees a half-deleted run
    try:
        folder.rename(deleted)
        shutil.rmtree(deleted)
    except OSError as error:
        raise RunError(f"cannot delete run {run_id!r}: {error.strerror or error}") from None
