"""Read run folders for the pages. Nothing here writes, so reading never affects a run."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from dashboard.session import lineage
from dashboard.session.file_cache import FileCache, fingerprint
from trimcore import runs, spec, tables
from trimcore.errors import TrimError
from trimcore.jobs import control
from trimcore.runs import sweeps
from trimcore.system.files import read_json

T = TypeVar("T")
STATE_ICONS = {
    "queued": ":material/schedule:", "held": ":material/pause_circle:", "starting": ":material/hourglass_top:",
    "running": ":material/sprint:",
    "pausing": ":material/hourglass_bottom:", "paused": ":material/pause:", "stopping": ":material/hourglass_bottom:",
    "stopped": ":material/stop:", "finished": ":material/check:", "failed": ":material/error:",
    "lost": ":material/help:",
}  # fmt: skip
LOG_LINES, LOG_BYTES = 200, 100_000  # read from the end of a log


def folder() -> Path:
    return runs.runs_folder()


def place_of(run: Path) -> Path:
    """The folder for what the pages make from a run: its own, or one beside the runs if it is the example."""
    return folder() / ".example" if runs.is_shipped(run) else run


def run_ids() -> list[str]:
    """The runs of this installation, newest first."""
    return runs.list_runs(folder())


def selectable() -> list[str]:
    """The runs that can be selected: those of this installation, newest first, and the example."""
    return list(dict.fromkeys([*run_ids(), runs.EXAMPLE]))


_member = FileCache(sweeps.read_member)
_json, _spec, _parent = FileCache(read_json), FileCache(spec.load), FileCache(runs.parent_of)
_launched_as = FileCache(runs.launched_as)
_notes = FileCache(lambda path: runs.notes_of(path.parent))
_events = FileCache(lambda path: list(runs.read_events(path.parent)), 64)  # megabytes each for large networks
_log_tail = FileCache(lambda path: _last_lines(path), 64)


def status(run_id: str) -> runs.Status:
    return runs.state_of(runs.open_run(folder(), run_id), json_file)


def json_file(path: Path) -> dict[str, Any]:
    """The JSON object in a file; {} if it is missing or unreadable."""
    return read_if_exists(_json, path, {})


def unfinished() -> list[str]:
    """Runs that have not recorded their end: those that may be active."""
    return runs.list_unfinished(folder())


def events(run_id: str) -> list[dict[str, Any]]:
    """All recorded events of a run."""
    return read_if_exists(_events, runs.open_run(folder(), run_id) / "events.jsonl", [])


def version(run_id: str) -> tuple[Any, ...]:
    """Identifies the state of a run's events and spec. It changes when either file changes."""
    own = runs.open_run(folder(), run_id)
    return tuple(read_if_exists(fingerprint, own / name, None) for name in ("events.jsonl", "spec.toml"))


def spec_of(run_id: str) -> spec.Spec:
    """The run's spec. Raises SpecError if the file is damaged."""
    return _spec(runs.open_run(folder(), run_id) / "spec.toml")


def spec_text(run_id: str) -> str:
    """The text of the run's spec.toml."""
    return (runs.open_run(folder(), run_id) / "spec.toml").read_text("utf-8")


def all_sweeps() -> dict[str, dict[str, sweeps.Member]]:
    """The runs of every sweep, by its id, newest first."""
    return dict(sorted(sweeps.all_members(folder(), _member).items(), reverse=True))


def imported_from(run_id: str) -> str:
    """The origin of an imported run as text: versions and host. "" for a run of this installation."""
    own = runs.open_run(folder(), run_id)
    if not control.is_brought(own):
        return ""
    record: dict[str, Any] = read_if_exists(_json, own / "brought.json", {})
    started = next((event for event in events(run_id) if event["kind"] == "started"), {})
    versions = {"trimcore": started.get("trimcore") or record.get("trimcore"), "PyTorch": started.get("torch")}
    parts = [*(f"{name} {version}" for name, version in versions.items() if version), record.get("host")]
    return ", ".join(str(part) for part in parts if part) or "unknown"


def notes(run_id: str) -> runs.Notes:
    """The name, note and tags that people gave a run."""
    return read_if_exists(_notes, runs.open_run(folder(), run_id) / "notes.json", runs.Notes())


def parents() -> dict[str, runs.Parent]:
    """Every run, newest first, with the run and iteration it branched from (see `lineage.forest`). The example is the
    last one."""
    return lineage.forest({**runs.parents(folder(), _parent_of), runs.EXAMPLE: None})


def parents_of(specs: Iterable[spec.Spec]) -> dict[str, spec.Spec]:
    """The specs of the runs that these branch from, as far as they can be read."""
    found = {}
    for asked in specs:
        with contextlib.suppress(TrimError):
            if asked.parent:
                found[asked.parent.run] = spec_of(asked.parent.run)
    return found


def children(run_id: str) -> list[str]:
    """The branches of a run, oldest first."""
    return runs.children(folder(), run_id, _parent_of)


def _parent_of(path: Path) -> runs.Parent:
    return read_if_exists(_parent, path, None)


def read_if_exists(read: Callable[[Path], T], path: Path, default: T) -> T:
    """`read(path)`, or `default` if the file does not exist yet or has just been deleted."""
    try:
        return read(path)
    except FileNotFoundError:
        return default


def profile_of(run_id: str, iteration: int | None = None) -> pd.DataFrame:
    """One profile of a run, one row per neuron (see `tables.profiles`): of an iteration, or the latest."""
    found = tables.latest(events(run_id), "profiled")
    iteration = max(found, default=None) if iteration is None else iteration
    return tables.profiles([found[iteration]] if iteration in found else [])


def log_tail(run_id: str) -> str:
    """The end of the log."""
    return read_if_exists(_log_tail, runs.open_run(folder(), run_id) / "log.txt", "")


def _last_lines(path: Path) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        text = file.read().decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-LOG_LINES:])


def title(run_id: str) -> str:
    """The title of a run in lists: its name if it has one, its network and its start time."""
    date, time, rest = run_id.split("-", 2) if run_id.count("-") >= 2 else ("", "", run_id)
    when = f"{date[4:6]}/{date[6:8]} {time[:2]}:{time[2:4]}" if date.isdigit() and time.isdigit() else ""
    return " · ".join(filter(None, [name(run_id), rest, when]))


def short_title(run_id: str) -> str:
    """A short title for small spaces: the name of a run, or its network."""
    return name(run_id) or run_id.split("-", 2)[-1]


def name(run_id: str) -> str:
    """The name of a run: the one in its notes, else the one it was launched with. It may be empty."""
    return notes(run_id).name or read_if_exists(_launched_as, runs.open_run(folder(), run_id) / "spec.toml", "")
