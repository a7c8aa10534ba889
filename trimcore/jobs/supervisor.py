"""The supervisor of one run: waits for its turn on the device, starts the trainer, and waits for it to end.

    python -m trimcore.jobs.supervisor RUN_FOLDER

Imports no torch. It leads its own session and writes to the run's log, so it survives a closed browser and a dead
server. If the supervisor itself dies, the trainer continues, and the trainer's own lock keeps the device.
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
from trimcore.jobs import on_end, queue
from trimcore.jobs.locks import lock_path
from trimcore.system import environment, processes
from trimcore.system.files import read_json
from trimcore.system.logs import LOG, logging_to

POLL = 0.2  # seconds
GRACE = 15.0  # seconds for the trainer to follow a stop request before it gets SIGTERM
TERM_GRACE = 5.0  # seconds between SIGTERM and SIGKILL


def supervise(folder: Path) -> dict[str, Any]:
    """Supervise the run until it ends. Returns the contents of exit.json: state, reason, code and time."""
    runs.update_status(folder, supervisor=processes.identity(), state="queued", heartbeat=time.time())
    devices = runs.devices_of(read_json(folder / "status.json"))
    turns = [FileLock(lock_path(folder.parent, device, "turn")) for device in devices]
    LOG.debug(f"the supervisor is waiting for its turn on {', '.join(devices)}")
    if not _wait_for_turn(folder, devices, turns):
        state = "paused" if runs.requested(folder) == "pause" else "stopped"
        return runs.write_exit(folder, state, f"{state} while queued")
    try:
        runs.update_status(folder, state="starting", heartbeat=time.time())
        with open(folder / "log.txt", "ab") as log:
            trainer = subprocess.Popen(
                [sys.executable, "-m", "trimcore.jobs.worker", str(folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**environment.SETTINGS, **os.environ},
            )  # fmt: skip
        LOG.debug(f"the trainer is process {trainer.pid}")
        code = _wait_for_trainer(folder, trainer)
    finally:
        _release(turns)
    return runs.write_exit(folder, **_outcome(folder, code), code=code)


def _wait_for_turn(folder: Path, devices: list[str], turns: list[FileLock]) -> bool:
    """Wait for all devices at once, first come, first served. True with the locks held; False if a stop or a pause was
    requested meanwhile."""
    while runs.requested(folder) not in ("stop", "pause"):
        if not any(run for device in devices for run in queue.before(folder, device)):
            try:
                for device, turn in zip(devices, turns, strict=True):
                    turn.acquire(timeout=0)
                    with FileLock(lock_path(folder.parent, device, "trainer")).acquire(timeout=0):
                        pass  # a trainer whose supervisor died may still be using the device
                return True
            except Timeout:
                _release(turns)
        time.sleep(POLL)
    return False


def _release(turns: list[FileLock]) -> None:
    for turn in turns:
        turn.release()


def _wait_for_trainer(folder: Path, trainer: subprocess.Popen[bytes]) -> int:
    """Wait for the trainer to exit; if it ignores a stop request, kill it. Then kill everything it started."""
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
    _signal_group(trainer.pid, signal.SIGKILL)  # data loader workers may outlive it
    for process in read_json(folder / "status.json").get("processes") or []:  # each has its own process group
        if processes.is_alive(process):
            _signal_group(process["pid"], signal.SIGKILL)
    return code


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # the group has already ended


def _outcome(folder: Path, code: int) -> dict[str, Any]:
    reported: dict[str, Any] | None = read_json(folder / "status.json").get("outcome")
    if reported:
        return reported
    if runs.requested(folder) == "stop":
        return {"state": "stopped", "reason": "stopped on request"}
    if code == -signal.SIGKILL:
        return {"state": "failed", "reason": "the trainer was killed by the system: out of memory?"}
    return {"state": "failed", "reason": f"the trainer exited with code {code} without a message; see the log"}


def main(folder: Path) -> int:
    """Return exit code 1, with a log line, if the run's folder cannot be written. The run is then shown as lost."""
    with logging_to(None):
        try:
            ended = supervise(folder)
            on_end.tell(folder, ended)
            LOG.debug(f"the supervisor is done: {ended['state']}, code {ended['code']}")
        except OSError as error:
            LOG.error(f"the supervisor cannot continue: {error.strerror or error} ({error.filename or folder})")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
