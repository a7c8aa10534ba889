"""Wait for one's turn: until the run is next in the queue and all its devices are free. Imports no torch."""

import time
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock, Timeout

from trimcore import runs
from trimcore.jobs import awaited, queue
from trimcore.jobs.locks import lock_path
from trimcore.runs import sweeps
from trimcore.system.files import read_json

POLL = 0.2  # seconds
# Polls without a look at the devices and the queue, which would take most of a core with many waiting runs.
BUSY, PASSED, MOST = 4, 4, 25  # while a device is taken; while others pass the run; for a run far behind
ENDED = {"stop": "stopped", "pause": "paused"}  # a request to a waiting run -> the state that it ends in


def wait(folder: Path) -> ExitStack | None:
    """Wait for all devices of the run at once. Returns their locks, which are released when the stack is closed; the
    run's state is then "starting". None if it is over: a stop or a pause was requested meanwhile, or its parent has
    ended without the network that it starts from."""
    devices, skip = runs.devices_of(read_json(folder / "status.json")), 0
    while runs.requested(folder) not in ENDED and not awaited.in_vain(folder):
        if skip:
            skip -= 1
        elif not _are_free(folder, devices):
            skip = BUSY
        else:
            before = queue.position(folder)
            if before == 0 and (locks := _take(folder, devices)):
                return locks
            skip = PASSED if before is None else min(MOST, before)
        time.sleep(POLL)
    return None


def _are_free(folder: Path, devices: list[str]) -> bool:
    """Whether no run has its turn on any of the devices now."""
    try:
        for device in devices:
            with FileLock(lock_path(folder.parent, device, "turn")).acquire(timeout=0):
                pass
    except Timeout:
        return False
    return True


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
    """State and reason of a run that was over while it waited."""
    if state := ENDED.get(runs.requested(folder)):
        return state, f"{state} while queued"
    return ended_by_sweep(folder) or ("failed", awaited.in_vain(folder) or "the run that it starts from had ended")


def ended_by_sweep(folder: Path) -> tuple[str, str] | None:
    """State and reason of a run that ends because of the rule of its sweep; None if it goes on, or is in no sweep."""
    if not (folder / sweeps.FILE).exists():
        return None
    from trimcore.jobs import sweep_rule  # loads pandas, which a supervisor that only waits does not need

    ended = sweep_rule.verdict(folder)
    return (ended["state"], ended["reason"]) if ended else None
