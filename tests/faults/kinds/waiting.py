"""Runs that wait in the queue, and what becomes of them while they do: means of several modules."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.faults.scene import Broken, Scene
from trimcore.jobs import queue
from trimcore.jobs.locks import lock_path

SMALL = {"base": {"epochs": 1}, "step": []}
# The name keeps the lock: one that nothing refers to any more is released.
HOLD = "import sys; from filelock import FileLock; own = FileLock(sys.argv[1]); own.acquire(); print(flush=True)"


@contextlib.contextmanager
def device_taken(scene: Scene, role: str = "turn") -> Iterator[None]:
    """Another process has the device, and is killed at the end."""
    command = [sys.executable, "-c", f"{HOLD}; sys.stdin.read()", str(lock_path(scene.folder, "cpu", role))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdout.readline()
        try:
            yield
        finally:
            holder.kill()


def launch_three(scene: Scene) -> list[Path]:
    """The run of this round, and two small ones that come after it."""
    return [scene.launch(), scene.launch(**SMALL), scene.launch(**SMALL)]


def order(scene: Scene) -> list[str]:
    return [entry.run_id for entry in queue.waiting(scene.folder)]


def check_order(scene: Scene, wanted: list[str]) -> None:
    if (found := order(scene)) != wanted:
        raise Broken(f"the queue is {', '.join(found)}; expected {', '.join(wanted)}")
