"""Reading run folders for the pages. Nothing here writes, and a run never notices that it is looked at."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from dashboard import lineage
from dashboard.remembering import Remembered, mark
from trimcore import runs, spec, tables
from trimcore.jobs import control
from trimcore.system.files import read_json

MARKS = {
    "queued": ":material/schedule:", "starting": ":material/hourglass_top:", "running": ":material/sprint:",
    "pausing": ":material/hourglass_bottom:", "paused": ":material/pause:", "stopping": ":material/hourglass_bottom:",
    "stopped": ":material/stop:", "finished": ":material/check:", "failed": ":material/error:",
    "lost": ":material/help:",
}  # fmt: skip
LOG_LINES, LOG_BYTES = 200, 100_000  # of the end of a log


def folder() -> Path:
    return runs.runs_folder()


def run_ids() -> list[str]:
    """Newest first."""
    return runs.list_runs(folder())


_json, _spec, _parent = Remembered(read_json), Remembered(spec.load), Remembered(runs.parent_of)
_launched_as = Remembered(runs.launched_as)
_notes = Remembered(lambda path: runs.notes_of(path.parent))
_events = Remembered(lambda path: list(runs.read_events(path.parent)), 64)  # of large networks each is megabytes
_log_tail = Remembered(lambda path: _last_lines(path), 64)


def status(run_id: str) -> runs.Status:
    return runs.state_of(runs.open_run(folder(), run_id), lambda path: if_there(_json, path, {}))


def unfinished() -> list[str]:
    """Runs without a last word: those that may be active."""
    return [run_id for run_id in run_ids() if not (folder() / run_id / "exit.json").exists()]


def events(run_id: str) -> list[dict]:
    """All recorded events of a run."""
    return if_there(_events, runs.open_run(folder(), run_id) / "events.jsonl", [])


def version(run_id: str) -> tuple:
    """Tells what a run has recorded, and was asked, from anything before it."""
    own = runs.open_run(folder(), run_id)
    return tuple(if_there(mark, own / name, None) for name in ("events.jsonl", "spec.toml"))


def spec_of(run_id: str) -> spec.Spec:
    """The run's spec. Raises SpecError when somebody damaged the file."""
    return _spec(runs.open_run(folder(), run_id) / "spec.toml")


def brought(run_id: str) -> str:
    """From where a run was brought here, in words; "" for one of this installation."""
    own = folder() / run_id
    if not control.is_brought(own):
        return ""
    said = if_there(_json, own / "brought.json", {})
    made = next((event for event in events(run_id) if event["kind"] == "started"), {})
    versions = {"trimcore": made.get("trimcore") or said.get("trimcore"), "PyTorch": made.get("torch")}
    parts = [*(f"{name} {version}" for name, version in versions.items() if version), said.get("host")]
    return ", ".join(str(part) for part in parts if part) or "unknown"


def notes(run_id: str) -> runs.Notes:
    """The name, the note and the tags that were written on a run."""
    return if_there(_notes, runs.open_run(folder(), run_id) / "notes.json", runs.Notes())


def parents() -> lineage.Forest:
    """Every run, newest first, with the run and iteration that it began at (see `lineage.forest`)."""
    return lineage.forest(runs.parents(folder(), _parent_of))


def children(run_id: str) -> list[str]:
    """The runs that begin at an iteration of this one, oldest first."""
    return runs.children(folder(), run_id, _parent_of)


def _parent_of(path: Path) -> runs.Parent:
    return if_there(_parent, path, None)


def if_there(read: Callable, path: Path, otherwise):
    """What is read of a file, which may come later, or have been deleted a moment ago."""
    try:
        return read(path)
    except FileNotFoundError:
        return otherwise


def profile_of(run_id: str, iteration: int | None = None) -> pd.DataFrame:
    """One profile of a run, neuron by neuron (see `tables.profiles`): of an iteration, or the last there is."""
    found = tables.latest(events(run_id), "profiled")
    iteration = max(found, default=None) if iteration is None else iteration
    return tables.profiles([found[iteration]] if iteration in found else [])


def log_tail(run_id: str) -> str:
    """The end of the log."""
    return if_there(_log_tail, runs.open_run(folder(), run_id) / "log.txt", "")


def _last_lines(path: Path) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        text = file.read().decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-LOG_LINES:])


def title(run_id: str) -> str:
    """How a run is called in lists: its own name if it has one, then what it is and when it began."""
    date, time, rest = run_id.split("-", 2) if run_id.count("-") >= 2 else ("", "", run_id)
    when = f"{date[4:6]}/{date[6:8]} {time[:2]}:{time[2:4]}" if date.isdigit() and time.isdigit() else ""
    return " · ".join(filter(None, [name(run_id), rest, when]))


def short_title(run_id: str) -> str:
    """The name of a run, or what it is, where there is little room."""
    return name(run_id) or run_id.split("-", 2)[-1]


def name(run_id: str) -> str:
    """What a person calls a run: as it is noted on it, else as it was launched; may be empty."""
    return notes(run_id).name or if_there(_launched_as, folder() / run_id / "spec.toml", "")
