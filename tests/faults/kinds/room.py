"""There is no more room: in a file, on the disk, in memory."""

import contextlib
import resource
import subprocess
from pathlib import Path

import psutil

from tests.faults.scene import (
    KILLED,
    Broken,
    Scene,
    count_events,
    finished_files,
    process_of,
    until,
)


def files_limited(scene: Scene) -> Path:
    """No file may grow beyond half a megabyte: a checkpoint does not fit."""
    run = scene.launch()
    scene.some_moment(run)
    limit(run, resource.RLIMIT_FSIZE, 500_000)
    until(lambda: not scene.state(run).active, "its end")
    status = scene.check_true(run, {"failed"})
    if status.state == "failed" and "File too large" not in status.reason:
        raise Broken(f"the reason is not told: {status.reason}")
    return run


def disk_full(scene: Scene) -> Path:
    """The runs folder is a file system of a few megabytes; when it has been made larger, the run goes on."""
    size = scene.chance.choice([4, 6, 8, 10])
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(scene.folder)], check=True)
    run = scene.launch()
    until(lambda: not scene.state(run).active, "its end")
    status = scene.check_true(run, KILLED)
    if status.state == "failed" and "No space left" not in status.reason:
        raise Broken(f"the reason is not told: {status.reason}")
    kept = finished_files(run)
    subprocess.run(["mount", "-o", "remount,size=200m", str(scene.folder)], check=True)
    if finished_files(run) != kept:
        raise Broken("what was finished is not there any more")
    return run


def out_of_memory(scene: Scene) -> Path:
    """Nothing more can be allocated: a line that says so, and with memory it goes on."""
    run = scene.launch()
    scene.some_moment(run)
    trainer = process_of(run, "worker")
    if trainer is not None and count_events(run):
        with contextlib.suppress(psutil.NoSuchProcess):
            limit(run, resource.RLIMIT_AS, trainer.memory_info().vms)
    until(lambda: not scene.state(run).active, "its end")
    status = scene.check_true(run, {"failed"})
    if status.state == "failed" and "memory" not in status.reason:
        raise Broken(f"the reason is not told: {status.reason}")
    return run


def limit(run: Path, kind: int, value: int) -> None:
    """A limit of the trainer, and of what its supervisor starts from now on."""
    for role in ("supervisor", "worker"):
        if role == "supervisor" and kind == resource.RLIMIT_AS:
            continue
        with contextlib.suppress(psutil.NoSuchProcess, AttributeError):
            process_of(run, role).rlimit(kind, (value, value))
