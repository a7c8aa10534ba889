"""The supervisor of one run: waits for its turn on the device, starts the trainer, sees it end. Imports no torch.

    python -m trimcore.jobs.supervisor RUN_FOLDER

It is the leader of a session of its own and writes to the run's log, so neither a closed browser nor a dead server
touches it. Should it die itself, the trainer goes on, and its own lock keeps the device.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trimcore import runs
from trimcore.jobs import queue
from trimcore.jobs.locks import ENVIRONMENT, lock_path
from trimcore.system import processes
from trimcore.system.files import read_json
from trimcore.system.logs import LOG, logging_into

POLL = 0.2  # seconds
GRACE = 15.0  # seconds that a trainer has to see a stop request by itself
TERM_GRACE = 5.0  # seconds between SIGTERM and SIGKILL


def supervise(folder: Path) -> dict[str, Any]:
    """Carry the run through to its end. Returns what exit.json says: state, reason, code."""
    runs.update_status(folder, supervisor=processes.identity(), state="queued", heartbeat=time.time())
    devices = runs.devices_of(read_json(folder / "status.json"))
    turns = [FileLock(lock_path(folder.parent, device, "turn")) for device in devices]
    LOG.debug(f"the supervisor waits for its turn on {', '.join(devices)}")
    if not _wait_for_turn(folder, devices, turns):
        state = "paused" if runs.requested(folder) == "pause" else "stopped"
        return runs.write_exit(folder, state, f"{state} while it waited in the queue")
    try:
        runs.update_status(folder, state="starting", heartbeat=time.time())
        with open(folder / "log.txt", "ab") as log:
            trainer = subprocess.Popen(
                [sys.executable, "-m", "trimcore.jobs.worker", str(folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**ENVIRONMENT, **os.environ},
            )  # fmt: skip
        LOG.debug(f"the trainer is process {trainer.pid}")
        code = _see_it_end(folder, trainer)
    finally:
        _release(turns)
    return runs.write_exit(folder, **_outcome(folder, code), code=code)


def _wait_for_turn(folder: Path, devices: list[str], turns: list[FileLock]) -> bool:
    """First come, first served, on all devices at once: True with the locks held, False when a stop or a pause was
    asked meanwhile."""
    while runs.requested(folder) not in ("stop", "pause"):
        if not any(run for device in devices for run in queue.before(folder, device)):
            try:
                for device, turn in zip(devices, turns, strict=True):
                    turn.acquire(timeout=0)
                    with FileLock(lock_path(folder.parent, device, "trainer")).acquire(timeout=0):
                        pass  # a trainer without a supervisor may still be there
                return True
            except Timeout:
                _release(turns)
        time.sleep(POLL)
    return False


def _release(turns: list[FileLock]) -> None:
    for turn in turns:
        turn.release()


def _see_it_end(folder: Path, trainer: subprocess.Popen[bytes]) -> int:
    """Wait for the trainer; after a stop request that it does not follow, make it end, and all that it started."""
    asked = 0.0
    while True:
        try:
            code = trainer.wait(POLL)
            break
        except subprocess.TimeoutExpired:
            if runs.requested(folder) == "stop":
                asked = asked or time.monotonic()
                waited = time.monotonic() - asked
                if waited > GRACE + TERM_GRACE:
                    _signal_group(trainer.pid, signal.SIGKILL)
                elif waited > GRACE:
                    _signal_group(trainer.pid, signal.SIGTERM)
    _signal_group(trainer.pid, signal.SIGKILL)  # data loader workers that outlived it
    for process in read_json(folder / "status.json").get("processes") or []:  # of several, each has its own group
        if processes.is_alive(process):
            _signal_group(process["pid"], signal.SIGKILL)
    return code


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # nothing is left of it


def _outcome(folder: Path, code: int) -> dict[str, Any]:
    said: dict[str, Any] | None = read_json(folder / "status.json").get("outcome")
    if said:
        return said
    if runs.requested(folder) == "stop":
        return {"state": "stopped", "reason": "stopped on request"}
    if code == -signal.SIGKILL:
        return {"state": "failed", "reason": "the trainer was killed by the system: out of memory?"}
    return {"state": "failed", "reason": f"the trainer ended with code {code} and no word; see the log"}


def main(folder: Path) -> int:
    """Exit code 1, with a line in the log, where the run's folder cannot be written: it is then shown as lost."""
    with logging_into(None):
        try:
            ended = supervise(folder)
            LOG.debug(f"the supervisor ends: {ended['state']}, code {ended['code']}")
        except OSError as error:
            LOG.error(f"the supervisor cannot go on: {error.strerror or error} ({error.filename or folder})")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
