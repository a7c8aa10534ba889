"""The user's annotations of a run: a name, a note and tags.

They are kept in notes.json, because a run's spec never changes.
"""

import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from trimcore.errors import RunError
from trimcore.runs.folder import open_run
from trimcore.runs.shipped import check_own
from trimcore.system.files import read_json, write_atomic

LONGEST = {"name": 80, "note": 4_000, "tag": 40}  # characters
MOST_TAGS = 20


@dataclass(frozen=True)
class Notes:
    """The annotations of a run. `name` overrides the spec's name unless it is empty."""

    name: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()


def notes_of(folder: Path) -> Notes:
    """The annotations of a run; empty if the file is missing or damaged."""
    found = read_json(folder / "notes.json")
    name, note, tags = found.get("name", ""), found.get("note", ""), found.get("tags", [])
    if not isinstance(name, str) or not isinstance(note, str) or not isinstance(tags, list):
        return Notes()
    return Notes(name, note, tuple(tag for tag in tags if isinstance(tag, str)))


def write_notes(runs_folder: Path, run_id: str, notes: Notes) -> None:
    """Annotate a run, even while it is running. Tags are stripped and deduplicated.

    Raises RunError for the example, if a text is too long, there are too many tags, or the folder cannot be written.
    """
    folder = open_run(runs_folder, run_id)
    check_own(folder)
    tags = tuple(dict.fromkeys(tag.strip() for tag in notes.tags if tag.strip()))
    for kind, text in [("name", notes.name), ("note", notes.note), *(("tag", tag) for tag in tags)]:
        if len(text) > LONGEST[kind]:
            raise RunError(f"a {kind} has at most {LONGEST[kind]} characters, not {len(text)}")
    if len(tags) > MOST_TAGS:
        raise RunError(f"a run has at most {MOST_TAGS} tags, not {len(tags)}")
    if "\n" in notes.name or any("\n" in tag for tag in tags):
        raise RunError("a name or tag has to be a single line")
    try:
        write_atomic(folder / "notes.json", json.dumps(asdict(Notes(notes.name.strip(), notes.note, tags))))
    except OSError as error:
        raise RunError(f"cannot annotate run {run_id!r}: {error.strerror or error}") from None


def launched_as(spec: Path) -> str:
    """The name in a spec.toml; "" if it has none or is damaged. Only the part above the first section, which has the
    name, is parsed, because listing runs reads every spec."""
    try:
        name = tomllib.loads(spec.read_text("utf-8").partition("\n[")[0]).get("name")
    except (OSError, ValueError):
        return ""
    return name if isinstance(name, str) else ""
