"""What people write on a run: a name, a note and tags.

A run's spec never changes; a name, a note and tags are kept beside it, in notes.json.
"""

import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from trimcore.errors import RunError
from trimcore.runs.folder import open_run
from trimcore.system.files import read_json, write_atomic

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
    found = read_json(folder / "notes.json")
    name, note, tags = found.get("name", ""), found.get("note", ""), found.get("tags", [])
    if not isinstance(name, str) or not isinstance(note, str) or not isinstance(tags, list):
        return Notes()
    return Notes(name, note, tuple(tag for tag in tags if isinstance(tag, str)))


def write_notes(runs_folder: Path, run_id: str, notes: Notes) -> None:
    """Write on a run, also while it is running. Tags lose double entries and spaces around them.

    Raises RunError for texts that are too long or a folder that cannot be written.
    """
    folder = open_run(runs_folder, run_id)
    tags = tuple(dict.fromkeys(tag.strip() for tag in notes.tags if tag.strip()))
    for kind, text in [("name", notes.name), ("note", notes.note), *(("tag", tag) for tag in tags)]:
        if len(text) > LONGEST[kind]:
            raise RunError(f"a {kind} has at most {LONGEST[kind]} characters, not {len(text)}")
    if len(tags) > MOST_TAGS:
        raise RunError(f"a run has at most {MOST_TAGS} tags, not {len(tags)}")
    if "\n" in notes.name or any("\n" in tag for tag in tags):
        raise RunError("names and tags are one line each")
    try:
        write_atomic(folder / "notes.json", json.dumps(asdict(Notes(notes.name.strip(), notes.note, tags))))
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
