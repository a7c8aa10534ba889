"""The state of a run: what its processes last said, checked against whether they are alive.

`status.json` is what the processes of a run last wrote. `exit.json` is written once, when nothing of the run is left.
`state_of` never trusts the first without checking that those processes are alive.
"""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimcore.runs.requests import requested
from trimcore.system.files import read_json, write_atomic
from trimcore.system.processes import is_alive

FINAL = ("stopped", "paused", "finished", "failed", "lost")
STALLED_AFTER = 30.0  # seconds without a heartbeat from a process that is alive


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
        living = [role for role in roles if is_alive(values.get(role))]
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
