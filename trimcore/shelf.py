"""What people write on runs, which run came from which, and taking one away. Imports no torch.

A run's spec never changes; a name, a note and tags are kept beside it, in notes.json.
"""

import contextlib
import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from trimcore import runs
from trimcore.errors import RunError

LONGEST = {"name": 80, "note": 4_000, "tag": 40}  # characters
MOST_TAGS = 20


@dataclass(frozen=True)
class Notes:
    """`name` takes the place of the spec's where it is not empty."""

    name: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()


def notes_of(folder: Path) -> Notes:
    """What was written on a run; nothing where the file is not there or damaged."""
    found = runs.read_json(folder / "notes.json")
    name, note, tags = found.get("name", ""), found.get("note", ""), found.get("tags", [])
    if not isinstance(name, str) or not isinstance(note, str) or not isinstance(tags, list):
        return Notes()
    return Notes(name, note, tuple(tag for tag in tags if isinstance(tag, str)))


def write_notes(runs_folder: Path, run_id: str, notes: Notes) -> None:
    """Write on a run, also while it is running. Tags lose double entries and spaces around them.

    Raises RunError for texts that are too long or a folder that cannot be written.
    """
    folder = runs.open_run(runs_folder, run_id)
    tags = tuple(dict.fromkeys(tag.strip() for tag in notes.tags if tag.strip()))
    for kind, text in [("name", notes.name), ("note", notes.note), *(("tag", tag) for tag in tags)]:
        if len(text) > LONGEST[kind]:
            raise RunError(f"a {kind} has at most {LONGEST[kind]} characters, not {len(text)}")
    if len(tags) > MOST_TAGS:
        raise RunError(f"a run has at most {MOST_TAGS} tags, not {len(tags)}")
    if "\n" in notes.name or any("\n" in tag for tag in tags):
        raise RunError("names and tags are one line each")
    try:
        runs.write_atomic(folder / "notes.json", json.dumps(asdict(Notes(notes.name.strip(), notes.note, tags))))
    except OSError as error:
        raise RunError(f"cannot write on run {run_id!r}: {error.strerror or error}") from None


def launched_as(spec: Path) -> str:
    """The name in a spec.toml; "" where it has none or is damaged. It stands above the first section: no more is read,
    since a list of runs needs all names."""
    try:
        name = tomllib.loads(spec.read_text("utf-8").partition("\n[")[0]).get("name")
    except (OSError, ValueError):
        return ""
    return name if isinstance(name, str) else ""


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
    return {run_id: read(runs_folder / run_id / "spec.toml") for run_id in runs.list_runs(runs_folder)}


def children(runs_folder: Path, run_id: str, read: Callable[[Path], Parent] = parent_of) -> list[str]:
    """The runs that begin at an iteration of this one, oldest first."""
    return sorted(child for child, parent in parents(runs_folder, read).items() if parent and parent[0] == run_id)


def delete(runs_folder: Path, run_id: str) -> None:
    """Take a run away for good, with its checkpoints.

    Raises RunError for one that is active, one that another run begins at, and a folder that cannot be removed.
    """
    folder = runs.open_run(runs_folder, run_id)
    status = runs.state_of(folder)
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
