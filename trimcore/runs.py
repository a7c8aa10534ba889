"""Run folders: where runs are kept, what state one is in, and whether its processes are alive. Imports no torch.

    runs/<id>/  spec.toml status.json events.jsonl log.txt exit.json checkpoints/
                iterations.csv layers.csv neurons.csv classes.csv

`status.json` is what the processes of a run last said; `exit.json` is the last word, written when nothing of the run is
left. `state_of` never trusts the first without looking whether those processes live.
"""

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimcore import processes
from trimcore.errors import RunError, shortened
from trimcore.wholeness import is_whole

FINAL = ("stopped", "paused", "finished", "failed", "lost")
FILES = {
    "spec.toml", "status.json", "events.jsonl", "log.txt", "exit.json", "request.json", "notes.json", "checkpoints",
    "iterations.csv", "layers.csv", "neurons.csv", "classes.csv", "brought.json",
}  # fmt: skip
STALLED_AFTER = 30.0  # seconds without a sign of life from a process that lives
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KIND, _BEGINNING = re.compile(r'"kind": ?"(\w+)"'), 100  # characters of a recorded line, in which its kind stands


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
    if strange := _strange_file(folder):
        raise RunError(f"run {run_id!r} is not opened: its {strange} is a link, or no ordinary file")
    return folder


def check_id(run_id: str) -> None:
    """Raises RunError for a name that is no run id: it could lead out of the runs folder."""
    if not _ID.fullmatch(run_id) or ".." in run_id:
        raise RunError(f"{shortened(repr(run_id))} is not a run id; they look like 20260101-093000-lenet5-1a2b")


def _strange_file(folder: str | Path) -> str:
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
        return os.path.isfile(f"{folder}/spec.toml") and not os.path.islink(folder) and not _strange_file(folder)
    except OSError:
        return False  # it is being deleted


# --- files ---


def write_atomic(path: Path, text: str) -> None:
    """Replace a file in one step: readers see the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or {} where there is none that can be read."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def update_status(folder: Path, **values: object) -> None:
    """Change some entries of status.json. One process at a time does so: launcher, then supervisor, then trainer."""
    write_atomic(folder / "status.json", json.dumps({**read_json(folder / "status.json"), **values}))


def devices_of(values: dict[str, Any]) -> list[str]:
    """The devices that a run takes, in order, from its status.json."""
    return [values.get("device_key", "cpu"), *values.get("more_devices", [])]


def write_exit(folder: Path, state: str, reason: str, code: int = 0) -> dict[str, Any]:
    """The last word on a run, for whoever sees that nothing of it is left. Returns what exit.json says."""
    ended = {"state": state, "reason": reason, "code": code, "time": time.time()}
    write_atomic(folder / "exit.json", json.dumps(ended))
    return ended


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


# --- requests: what a person asks a run to do ---

REQUESTS = ("stop", "pause", "finish")


def request(folder: Path, action: str) -> None:
    """Ask a run to stop now, pause after this epoch, or finish after this iteration."""
    write_atomic(folder / "request.json", json.dumps({"action": action, "time": time.time()}))


def requested(folder: Path) -> str:
    """What was last asked, or ""."""
    action = read_json(folder / "request.json").get("action", "")
    return action if action in REQUESTS else ""


# --- life and death ---


@dataclass(frozen=True)
class Status:
    """A run as it is now. `values` is status.json; `reason` says how it ended."""

    run_id: str
    state: str  # queued starting running pausing paused stopping stopped finished failed lost
    values: dict[str, Any]
    reason: str = ""
    stalled: bool = False

    @property
    def active(self) -> bool:
        return self.state not in FINAL

    @property
    def progress(self) -> float:
        return 1.0 if self.state == "finished" else float(self.values.get("fraction") or 0.0)


def state_of(folder: Path, read: Callable[[Path], dict[str, Any]] = read_json) -> Status:
    """The true state of a run: read, then checked against the processes. `read` may remember what it has read."""
    values, ended = read(folder / "status.json"), read(folder / "exit.json")
    if not ended and (folder / "brought.json").exists():
        ended = {"state": "lost", "reason": "it had not ended when it was brought here from another installation"}
    if not ended:
        # The launcher may be a page that lives for weeks: it vouches for a run only until the supervisor is there.
        roles = [role for role in ("trainer", "supervisor") if values.get(role)] or ["launcher"]
        living = [role for role in roles if processes.is_alive(values.get(role))]
        if living and ("trainer" in living or not values.get("outcome")):
            return _living_state(folder, values)
        if living and "supervisor" in living:  # it is about to write exit.json
            return _living_state(folder, values)
        if _elsewhere(values) and not values.get("outcome"):
            return _living_state(folder, values)
        ended = read_json(folder / "exit.json") or values.get("outcome") or {}  # it may have ended while we looked
    state = ended["state"] if ended.get("state") in FINAL else "lost"
    reason = ended.get("reason") or ("its processes are gone and left no word: killed, or the machine went down")
    return Status(folder.name, state, values, reason)


def _elsewhere(values: dict[str, Any]) -> bool:
    """Whether a process of another machine (or of this one, under the name it had then) wrote here a moment ago."""
    hosts = {(values.get(role) or {}).get("host") for role in ("trainer", "supervisor", "launcher")} - {None}
    fresh = time.time() - (values.get("heartbeat") or 0) < STALLED_AFTER
    return fresh and bool(hosts) and socket.gethostname() not in hosts


def _living_state(folder: Path, values: dict[str, Any]) -> Status:
    state, asked = values.get("state", "starting"), requested(folder)
    values = {**values, "asked": asked}
    if asked in ("stop", "pause"):
        state = {"stop": "stopping", "pause": "pausing"}[asked]
    beat = values.get("heartbeat")
    stalled = state == "running" and beat is not None and time.time() - beat > STALLED_AFTER
    return Status(folder.name, state, values, "", stalled)
