"""The run folder on disk: its location, its name, its files and its recorded events.

runs/<id>/  spec.toml status.json queue.json sweep.json events.jsonl log.txt exit.json checkpoints/
            iterations.csv layers.csv neurons.csv classes.csv quantization.csv tensorboard/
"""

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from trimcore.errors import RunError, shortened
from trimcore.runs.event_schema import is_valid
from trimcore.runs.shipped import EXAMPLE, FOLDER
from trimcore.system.files import write_atomic

FILES = {
    "spec.toml", "status.json", "events.jsonl", "log.txt", "exit.json", "request.json", "notes.json", "queue.json",
    "checkpoints", "iterations.csv", "layers.csv", "neurons.csv", "classes.csv", "brought.json", "quantization.csv",
    "tensorboard", "sweep.json",
}  # fmt: skip
FOLDERS = ("checkpoints", "tensorboard")  # those of them that are folders
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KIND, _PREFIX = re.compile(r'"kind": ?"(\w+)"'), 100  # the kind is within this many characters of the line's start


def runs_folder(given: str | Path | None = None) -> Path:
    """The folder that contains all runs: the given one, or TRIMCORE_RUNS, or runs/."""
    return Path(given or os.environ.get("TRIMCORE_RUNS") or "runs")


def open_run(runs: Path, run_id: str) -> Path:
    """The folder of an existing run, or of the example that comes with trimcore. Raises RunError if there is none, or
    if opening it would leave the runs folder."""
    check_id(run_id)
    folder = runs / run_id
    if run_id == EXAMPLE and not folder.exists():
        return FOLDER
    if os.path.islink(folder) and folder.resolve().parent != runs.resolve():  # only a symlink can point outside
        raise RunError(f"run {run_id!r} is outside the runs folder {runs}")
    if not os.path.isfile(f"{folder}/spec.toml"):
        raise RunError(f"there is no run {run_id!r} in {runs}; {_meant(runs, run_id)}")
    if irregular := _irregular_file(folder):
        raise RunError(f"run {run_id!r} cannot be opened: its {irregular} is a link, or not a regular file")
    return folder


def _meant(runs: Path, run_id: str) -> str:
    """What to do about an id that does not exist. Pages and people shorten ids to their ends."""
    with suppress(OSError):
        found = [name for name in os.listdir(runs) if name.endswith(f"-{run_id}") and _ID.fullmatch(name)]
        if len(found) == 1:
            return f"did you mean {found[0]}?"
    return "`list` shows the existing ones"


def check_id(run_id: str) -> None:
    """Raise RunError for a name that is not a run id: it could point outside the runs folder."""
    if not _ID.fullmatch(run_id) or ".." in run_id:
        raise RunError(f"{shortened(repr(run_id))} is not a run id; run ids look like 20260101-093000-lenet5-1a2b")


def _irregular_file(folder: str | Path) -> str:
    """The first known file of a run that is a link or not a regular file (such as a pipe), or "". Runs may come from
    untrusted sources."""
    with os.scandir(folder) as entries:
        for entry in entries:
            kind = entry.is_dir if entry.name in FOLDERS else entry.is_file
            if entry.name in FILES and not kind(follow_symlinks=False):
                return entry.name
    return ""


def create(runs: Path, model: str, spec_toml: str, write: Callable[[Path], object] = lambda folder: None) -> Path:
    """Create a run folder with its spec. `write` writes other files before that: with the spec, the folder becomes a
    run, and whoever is killed on the way leaves none. Raises RunError if it cannot be written."""
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
        write(folder)
        write_atomic(folder / "spec.toml", spec_toml)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"cannot create a run in {runs}: {reason}; choose another folder with --runs") from None
    return folder


def list_runs(runs: Path) -> list[str]:
    """Run ids, newest first, without runs that `open_run` would refuse."""
    if not runs.is_dir():
        return []
    names = [name for name in os.listdir(runs) if _ID.fullmatch(name)]  # Path objects would be five times slower
    return sorted((name for name in names if _is_run(runs, name)), reverse=True)


def list_unfinished(runs: Path) -> list[str]:
    """The runs that have recorded no end, newest first: those that may be active, and lost ones. Quicker than
    `list_runs`, because it opens no others."""
    if not runs.is_dir():
        return []
    names = (name for name in os.listdir(runs) if _ID.fullmatch(name))
    unfinished = (name for name in names if not os.path.exists(f"{runs}/{name}/exit.json"))
    return sorted((name for name in unfinished if _is_run(runs, name)), reverse=True)


def _is_run(runs: Path, name: str) -> bool:
    folder = f"{runs}/{name}"
    try:
        return os.path.isfile(f"{folder}/spec.toml") and not os.path.islink(folder) and not _irregular_file(folder)
    except OSError:
        return False  # it is being deleted


def read_events(folder: Path, kinds: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """The recorded events in order, optionally only some `kinds`: other lines are skipped without parsing them, since a
    profile is a long line. Invalid events are skipped too (see `event_schema`)."""
    try:
        with open(folder / "events.jsonl", encoding="utf-8", errors="replace") as file:
            for line in file:
                if kinds and (found := _KIND.search(line, 0, _PREFIX)) and found[1] not in kinds:
                    continue
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if is_valid(event) and (not kinds or event["kind"] in kinds):
                    yield event
    except FileNotFoundError:
        return


def checkpoint_path(folder: Path, iteration: int) -> Path:
    return folder / "checkpoints" / f"iteration-{iteration:02d}.pt"


def checkpoint_of(runs: Path, run_id: str, iteration: int) -> Path:
    """Where the weights of an iteration of an existing run are, or of the example. Raises RunError as `open_run`."""
    return checkpoint_path(open_run(runs, run_id), iteration)


def result_of(folder: Path) -> int:
    """The iteration that is the run's result so far: the last one whose accuracy did not fall below the minimum."""
    return result_in(read_events(folder))


def result_in(events: Iterable[dict[str, Any]]) -> int:
    """`result_of`, from events that have already been read."""
    result = 0
    for event in events:
        if event["kind"] in ("iteration", "ended"):
            result = event.get("result", event.get("iteration", result))
    return result
