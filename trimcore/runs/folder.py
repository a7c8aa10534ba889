"""The run folder on disk: where runs are kept, what they are called, and which files and events a run has.

runs/<id>/  spec.toml status.json events.jsonl log.txt exit.json checkpoints/
            iterations.csv layers.csv neurons.csv classes.csv
"""

import json
import os
import re
import secrets
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from trimcore.errors import RunError, shortened
from trimcore.runs.event_schema import is_whole
from trimcore.system.files import write_atomic

FILES = {
    "spec.toml", "status.json", "events.jsonl", "log.txt", "exit.json", "request.json", "notes.json", "checkpoints",
    "iterations.csv", "layers.csv", "neurons.csv", "classes.csv", "brought.json",
}  # fmt: skip
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KIND, _BEGINNING = re.compile(r'"kind": ?"(\w+)"'), 100  # characters at the start of a line that contain its kind


def runs_folder(given: str | Path | None = None) -> Path:
    """The folder of runs: the given one, or TRIMCORE_RUNS, or runs/."""
    return Path(given or os.environ.get("TRIMCORE_RUNS") or "runs")


def open_run(runs: Path, run_id: str) -> Path:
    """The folder of an existing run. Raises RunError for a name that is no run id or leads out of the runs folder."""
    check_id(run_id)
    folder = runs / run_id
    if os.path.islink(folder) and folder.resolve().parent != runs.resolve():  # only a link leads out
        raise RunError(f"run {run_id!r} lies outside the runs folder {runs}")
    if not os.path.isfile(f"{folder}/spec.toml"):
        raise RunError(f"there is no run {run_id!r} in {runs}; `list` shows those that are")
    if irregular := _irregular_file(folder):
        raise RunError(f"run {run_id!r} is not opened: its {irregular} is a link, or no ordinary file")
    return folder


def check_id(run_id: str) -> None:
    """Raises RunError for a name that is no run id: it could lead out of the runs folder."""
    if not _ID.fullmatch(run_id) or ".." in run_id:
        raise RunError(f"{shortened(repr(run_id))} is not a run id; they look like 20260101-093000-lenet5-1a2b")


def _irregular_file(folder: str | Path) -> str:
    """A run may come from somebody else: the first file of it that leads elsewhere or never ends (a pipe), or ""."""
    with os.scandir(folder) as entries:
        for entry in entries:
            kind = entry.is_dir if entry.name == "checkpoints" else entry.is_file
            if entry.name in FILES and not kind(follow_symlinks=False):
                return entry.name
    return ""


def create(runs: Path, model: str, spec_toml: str) -> Path:
    """A new run folder with its spec. Raises RunError when it cannot be written."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        while True:
            name = re.sub(r"[^A-Za-z0-9]+", "-", model)
            folder = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{secrets.token_hex(2)}"
            try:
                (folder / "checkpoints").mkdir(parents=True)
                break
            except FileExistsError:
                continue
        write_atomic(folder / "spec.toml", spec_toml)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"cannot create a run in {runs}: {reason}; choose another folder with --runs") from None
    return folder


def list_runs(runs: Path) -> list[str]:
    """Run ids, newest first. What `open_run` would refuse is not among them."""
    if not runs.is_dir():
        return []
    names = [name for name in os.listdir(runs) if _ID.fullmatch(name)]  # paths would cost five times as much
    return sorted((name for name in names if _is_run(runs, name)), reverse=True)


def _is_run(runs: Path, name: str) -> bool:
    folder = f"{runs}/{name}"
    try:
        return os.path.isfile(f"{folder}/spec.toml") and not os.path.islink(folder) and not _irregular_file(folder)
    except OSError:
        return False  # it is being deleted


def read_events(folder: Path, kinds: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """The recorded events, in order; only those of some kinds, where they are named: a profile is a long line, which
    need not be understood to be passed over. What is not whole (see `wholeness`) is passed over too."""
    try:
        with open(folder / "events.jsonl", encoding="utf-8", errors="replace") as file:
            for line in file:
                if kinds and (found := _KIND.search(line, 0, _BEGINNING)) and found[1] not in kinds:
                    continue
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if is_whole(event) and (not kinds or event["kind"] in kinds):
                    yield event
    except FileNotFoundError:
        return


def checkpoint_path(folder: Path, iteration: int) -> Path:
    return folder / "checkpoints" / f"iteration-{iteration:02d}.pt"


def result_of(folder: Path) -> int:
    """The iteration that is the run's result so far: the last one that did not fall below the accuracy to keep."""
    return result_in(read_events(folder))


def result_in(events: Iterable[dict[str, Any]]) -> int:
    """`result_of`, from events that are read already."""
    result = 0
    for event in events:
        if event["kind"] in ("iteration", "ended"):
            result = event.get("result", event.get("iteration", result))
    return result
