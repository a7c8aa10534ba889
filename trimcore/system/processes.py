"""Identify a process and check that it is alive. A pid alone is not enough, because the system reuses pids."""

import functools
import os
import socket
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]  # the folder that contains this package
START_TICKS = 21 - 2  # index of the start time among the fields after the process name in /proc/PID/stat


def python_path() -> str:
    """PYTHONPATH for a child process that must import this same package from any working directory."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def identity(pid: int | None = None) -> dict[str, Any]:
    """A process as recorded in status.json: its pid, start time and host.

    On Linux this includes the start in ticks since boot, and the boot's id: psutil derives `started` from the boot
    time, so it changes when the clock is set.
    """
    process = psutil.Process(pid)
    found = {"pid": process.pid, "started": process.create_time(), "host": socket.gethostname()}
    return found | _start_ticks(process.pid)


def is_alive(process: dict[str, Any] | None) -> bool:
    """Whether a process with the same pid and start is running and not a zombie. False for another host's process."""
    if not isinstance(process, dict) or process.get("host") != socket.gethostname():
        return False
    try:
        found = psutil.Process(process["pid"])
        if "ticks" in process and (now := _start_ticks(found.pid)):
            same = all(process.get(key) == value for key, value in now.items())
        else:
            same = abs(found.create_time() - process["started"]) < 1.0
        return same and found.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _start_ticks(pid: int) -> dict[str, Any]:
    """The boot id and the process's start in ticks since boot; {} if /proc does not provide it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return {"boot": _boot(), "ticks": int(stat.rpartition(b")")[2].split()[START_TICKS])}  # a name may contain ")"
    except OSError:
        return {}


@functools.cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
