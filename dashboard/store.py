"""Reading run folders for the pages. Nothing here writes, and a run never notices that it is looked at."""

from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import lineage
from trimcore import runs, shelf, tables

MARKS = {
    "queued": ":material/schedule:", "starting": ":material/hourglass_top:", "running": ":material/sprint:",
    "pausing": ":material/hourglass_bottom:", "paused": ":material/pause:", "stopping": ":material/hourglass_bottom:",
    "stopped": ":material/stop:", "finished": ":material/check:", "failed": ":material/error:",
    "lost": ":material/help:",
}  # fmt: skip


def folder() -> Path:
    return runs.runs_folder()


def run_ids() -> list[str]:
    """Newest first."""
    return runs.list_runs(folder())


def status(run_id: str) -> runs.Status:
    return runs.state_of(runs.open_run(folder(), run_id))


def unfinished() -> list[str]:
    """Runs without a last word: those that may be active."""
    return [run_id for run_id in run_ids() if not (folder() / run_id / "exit.json").exists()]


def events(run_id: str) -> list[dict]:
    """All recorded events of a run; read again only when the file has grown."""
    path = runs.open_run(folder(), run_id) / "events.jsonl"
    try:
        found = path.stat()
    except FileNotFoundError:
        return []
    return _events(str(path.parent), found.st_size, found.st_mtime_ns)


@st.cache_resource(max_entries=64, show_spinner=False)  # shared, not copied on every rerun: nobody changes them
def _events(path: str, size: int, changed: int) -> list[dict]:
    return list(runs.read_events(Path(path)))


def spec_of(run_id: str):
    """The run's spec. Raises SpecError when somebody damaged the file."""
    path = runs.open_run(folder(), run_id) / "spec.toml"
    return _spec(str(path), path.stat().st_mtime_ns)


@st.cache_resource(max_entries=64, show_spinner=False)
def _spec(path: str, changed: int):
    from trimcore import spec

    return spec.load(path)


def notes(run_id: str) -> shelf.Notes:
    """The name, the note and the tags that were written on a run."""
    return shelf.notes_of(runs.open_run(folder(), run_id))


def parents() -> dict[str, tuple[str, int] | None]:
    """Every run, newest first, with the run and iteration that it began at (see `lineage.forest`)."""
    return lineage.forest(shelf.parents(folder()))


def profile_of(run_id: str, iteration: int | None = None) -> pd.DataFrame:
    """One profile of a run, neuron by neuron (see `tables.profiles`): of an iteration, or the last there is."""
    found = tables.latest(events(run_id), "profiled")
    iteration = max(found, default=None) if iteration is None else iteration
    return tables.profiles([found[iteration]] if iteration in found else [])


def log_tail(run_id: str, lines: int = 200) -> str:
    """The end of the log."""
    path = runs.open_run(folder(), run_id) / "log.txt"
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 100_000))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


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
    try:
        return notes(run_id).name or spec_of(run_id).name
    except ValueError:
        return ""
