"""There is no more room: in a file, on the disk, in memory."""

import contextlib
import logging
import resource
import subprocess
from collections.abc import Iterator
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
from trimcore import runs


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
    small_disk(scene, scene.chance.choice([4, 6, 8, 10]))
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


def disk_full_with_event_files(scene: Scene) -> Path:
    """The disk fills up while files for TensorBoard are written. After a resume they have every point once."""
    small_disk(scene)
    run = scene.launch(log={"tensorboard": True})
    scene.some_moment(run)
    with filled(scene.folder):
        until(lambda: not scene.state(run).active, "its end")
        status = scene.check_true(run, KILLED)
        if status.state == "failed" and "No space left" not in status.reason:
            raise Broken(f"the reason is not told: {status.reason}")
    scene.finish(run)
    epochs = {(e["phase"], e["iteration"], e["epoch"]) for e in runs.read_events(run, ("epoch",))}
    if (points := losses(run)) != list(range(1, len(epochs) + 1)):
        raise Broken(f"the points of {len(epochs)} epochs are at {points}")
    return run


def losses(run: Path) -> list[int]:
    """The epochs whose loss TensorBoard shows."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # a resumed run voids its older files
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [event.step for event in EventAccumulator(str(run / "tensorboard")).Reload().Scalars("training/loss")]


def small_disk(scene: Scene, megabytes: int = 60) -> None:
    """The runs folder becomes a file system of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(scene.folder)], check=True)


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Nothing fits on the disk any more, until the end."""
    path = folder / ".filler"
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        path.unlink()
