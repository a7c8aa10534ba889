"""Wait for one's turn: until the run is next in the queue and all its devices are free. Imports no torch."""

import time
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock, Timeout

from trimcore import runs
from trimcore.jobs import queue
from trimcore.jobs.locks import lock_path
from trimcore.system.files import read_json

POLL = 0.2  # seconds
ENDED = {"stop": "stopped", "pause": "paused"}  # a request to a waiting run -> the state that it ends in


def wait(folder: Path) -> ExitStack | None:
    """Wait for all devices of the run at once. Returns their locks, which are released when the stack is closed; the
    run's state is then "starting". None if a stop or a pause was requested meanwhile."""
    devices = runs.devices_of(read_json(folder / "status.json"))
    while runs.requested(folder) not in ENDED:
        if queue.is_next(folder) and (locks := _take(folder, devices)):
            return locks
        time.sleep(POLL)
    return None


def _take(folder: Path, devices: list[str]) -> ExitStack | None:
    """The locks of all devices, or None if one is taken, or if the run was moved, held or stopped meanwhile."""
    with ExitStack() as locks:
        try:
            for device in devices:
                locks.enter_context(FileLock(lock_path(folder.parent, device, "turn")).acquire(timeout=0))
                with FileLock(lock_path(folder.parent, device, "trainer")).acquire(timeout=0):
                    pass  # a trainer whose supervisor died may still be using the device
            with queue.lock(folder.parent):
                if runs.requested(folder) in ENDED or not queue.is_next(folder):
                    return None
                now = time.time()
                runs.update_status(folder, state="starting", started_at=now, heartbeat=now)
        except Timeout:
            return None
        return locks.pop_all()


def outcome(folder: Path) -> tuple[str, str]:
    """State and reason of a run that was asked to end while it waited."""
    state = ENDED.get(runs.requested(folder), "stopped")
    return state, f"{state} while queued"
