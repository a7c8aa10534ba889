"""The supervisor of one run: waits for its turn on the device, starts the trainer, and waits for it to end.

    python -m trimcore.jobs.supervisor RUN_FOLDER

Imports no torch. It leads its own session and writes to the run's log, so it survives a closed browser and a dead
server. If the supervisor itself dies, the trainer continues, and the trainer's own lock keeps the device.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from trimcore import runs
from trimcore.jobs import on_end, turn
from trimcore.system import environment, logs, processes
from trimcore.system.files import read_json
from trimcore.system.logs import LOG, logging_to

POLL = 0.2  # seconds
GRACE = 15.0  # seconds for the trainer to follow a stop request before it gets SIGTERM
TERM_GRACE = 5.0  # seconds between SIGTERM and SIGKILL


def supervise(folder: Path) -> dict[str, Any]:
    """Supervise the run until it ends. Returns the contents of exit.json: state, reason, code and time."""
    runs.update_status(folder, supervisor=processes.identity(), state="queued", heartbeat=time.time())
    LOG.debug("the supervisor is waiting for its turn")
    locks = turn.wait(folder)
    if locks is None:
        return runs.write_exit(folder, *turn.outcome(folder))
    with locks:
        ended = turn.ended_by_sweep(folder)
        code = 0 if ended else _wait_for_trainer(folder, _start_trainer(folder))
    if ended:
        return runs.write_exit(folder, *ended)
    return runs.write_exit(folder, **_outcome(folder, code), code=code)


def _start_trainer(folder: Path) -> subprocess.Popen[bytes]:
    with open(folder / "log.txt", "ab") as log:
        trainer = subprocess.Popen(
            [sys.executable, "-m", "trimcore.jobs.worker", str(folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**environment.SETTINGS, **os.environ},
        )  # fmt: skip
    LOG.debug(f"the trainer is process {trainer.pid}")
    return trainer


def _wait_for_trainer(folder: Path, trainer: subprocess.Popen[bytes]) -> int:
    """Wait for the trainer to exit; if it ignores a stop request, kill it. Then kill everything it started. Meanwhile,
    the log is kept from filling the disk."""
    asked = 0.0
    while True:
        try:
            code = trainer.wait(POLL)
            break
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                logs.shorten(folder / "log.txt")
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
