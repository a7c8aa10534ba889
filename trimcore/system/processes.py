"""Which process is it, and is it alive? A pid alone does not tell: it is used again when its process is gone."""

import functools
import os
import socket
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]  # the folder that this package is in
SINCE_BOOT = 21 - 2  # place of the start time among what stands behind the name in /proc/PID/stat


def python_path() -> str:
    """PYTHONPATH for a process that has to import this very package, whatever folder it is started in."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def identity(pid: int | None = None) -> dict[str, Any]:
    """A process as status.json names it: its pid, when it started, and on which machine.

    On Linux its start is told in ticks since the machine was booted too, with the name of that boot: the time of day
    (`started`) is found by adding up, and comes out differently once somebody has set the clock.
    """
    process = psutil.Process(pid)
    said = {"pid": process.pid, "started": process.create_time(), "host": socket.gethostname()}
    return said | _since_boot(process.pid)


def is_alive(process: dict[str, Any] | None) -> bool:
    """Same pid, same start, and not a zombie. False for one of another machine: nothing is known of it."""
    if not process or process.get("host") != socket.gethostname():
        return False
    try:
        found = psutil.Process(process["pid"])
        if "ticks" in process and (now := _since_boot(found.pid)):
            same = all(process.get(key) == value for key, value in now.items())
        else:
            same = abs(found.create_time() - process["started"]) < 1.0
        return same and found.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _since_boot(pid: int) -> dict[str, Any]:
    """The boot and the ticks since then at which a process started; {} where that is not told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return {"boot": _boot(), "ticks": int(stat.rpartition(b")")[2].split()[SINCE_BOOT])}  # a name may hold anything
    except OSError:
        return {}


@functools.cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
