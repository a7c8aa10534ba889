"""The state of a run: what its processes last reported, checked against whether they are alive.

The processes of a run update `status.json`. `exit.json` is written once, when none of them is left. `state_of` never
trusts `status.json` without checking that those processes are alive.
"""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimcore.runs.place import time_in
from trimcore.runs.requests import requested
from trimcore.system.files import read_json, write_atomic
from trimcore.system.processes import is_alive

FINAL = ("stopped", "paused", "finished", "failed", "lost")
STALLED_AFTER = 30.0  # seconds without a heartbeat from a live process


def update_status(folder: Path, **values: object) -> None:
    """Update entries of status.json. Only one process writes at a time: launcher, then supervisor, then trainer."""
    write_atomic(folder / "status.json", json.dumps({**read_json(folder / "status.json"), **values}))


def devices_of(values: dict[str, Any]) -> list[str]:
    """The devices that a run uses, in order, from its status.json."""
    more = values.get("more_devices")
    return [str(device) for device in (values.get("device_key", "cpu"), *(more if isinstance(more, list) else ()))]


def write_exit(folder: Path, state: str, reason: str, code: int = 0) -> dict[str, Any]:
    """Record the outcome of a run, in status.json too. Called once none of its processes is left. Returns the contents
    of exit.json, which is written last: until it is there, the run has not ended."""
    ended = {"state": state, "reason": reason, "code": code, "time": time.time()}
    update_status(folder, state=state, outcome={"state": state, "reason": reason})
    write_atomic(folder / "exit.json", json.dumps(ended))
    return ended


@dataclass(frozen=True)
class Status:
    """The current state of a run. `values` is status.json; `reason` says how the run ended."""

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
    """The true state of a run: what its files say, checked against its processes. `read` may cache."""
    values, ended = read(folder / "status.json"), read(folder / "exit.json")
    if not ended and (folder / "brought.json").exists():
        ended = {"state": "lost", "reason": "it was imported from another installation before it had ended"}
    if not ended:
        # The launcher may be a dashboard that lives for weeks, so it counts only until the supervisor has started.
        roles = [role for role in ("trainer", "supervisor") if values.get(role)] or ["launcher"]
        living = [role for role in roles if is_alive(values.get(role))]
        if living and ("trainer" in living or not values.get("outcome")):
            return _living_state(folder, values)
        if living and "supervisor" in living:  # it is about to write exit.json
            return _living_state(folder, values)
        if _alive_elsewhere(values) and not values.get("outcome"):
            return _living_state(folder, values)
        ended = read_json(folder / "exit.json") or values.get("outcome") or {}  # it may have ended while we looked
    ended = ended if isinstance(ended, dict) else {}
    state = ended["state"] if ended.get("state") in FINAL else "lost"
    reason = ended.get("reason") or "its processes ended without a message: killed, or the machine went down"
    return Status(folder.name, state, values, reason)


def _alive_elsewhere(values: dict[str, Any]) -> bool:
    """Whether a process on another machine (or on this one under an earlier hostname) wrote here a moment ago."""
    named = [values.get(role) for role in ("trainer", "supervisor", "launcher")]
    hosts = {str(process["host"]) for process in named if isinstance(process, dict) and process.get("host")}
    fresh = time.time() - (time_in(values, "heartbeat") or 0) < STALLED_AFTER
    return fresh and bool(hosts) and socket.gethostname() not in hosts


def _living_state(folder: Path, values: dict[str, Any]) -> Status:
    state, asked = str(values.get("state", "starting")), requested(folder)
    values = {**values, "asked": asked}
    if state in FINAL:
        state = "running"  # until its last process has recorded the end, it cannot be resumed
    if asked in ("stop", "pause"):
        state = {"stop": "stopping", "pause": "pausing"}[asked]
    beat = time_in(values, "heartbeat")
    stalled = (
        state == "running" and not values.get("own_loop") and beat is not None and time.time() - beat > STALLED_AFTER
    )
    return Status(folder.name, state, values, "", stalled)
