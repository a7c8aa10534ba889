"""What the machine does: its clock, its process ids, its locks."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.faults.kinds.waiting import device_taken
from tests.faults.scene import (
    KILLED,
    Broken,
    Scene,
    count_events,
    edit_json,
    environment,
    until,
)
from trimcore.jobs import control

CLOCK = Path(__file__).parents[1] / "clock"  # for PYTHONPATH: time.time() of a process is off by what a file says


def clock_jumps(scene: Scene) -> Path:
    """An hour forward, then a day back, while it runs: it lives all the same, and is not said to stand still for
    long."""
    clock = scene.folder.parent / "clock"
    clock.write_text("0")
    path = f"{CLOCK}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    with environment(TEST_CLOCK=str(clock), PYTHONPATH=path):
        run = scene.launch()
    scene.some_moment(run)
    for jump in ("3600", "-86400"):
        clock.write_text(jump)
        with create_times_off_by(float(jump)):
            scene.check_true(run, set())
    return run


def pid_used_again(scene: Scene) -> Path:
    """Another process has the pid now, and it is not ours."""
    run, status = scene.killed()
    if status.state == "finished":
        return run
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as stranger:
        for role in ("supervisor", "trainer"):
            if said := status.values.get(role):
                edit_json(run / "status.json", **{role: {**said, "pid": stranger.pid}})
        scene.check_true(run, KILLED)
        control.resume(scene.folder, run.name)
        if stranger.poll() is not None:
            raise Broken("a process that is not ours was ended")
        stranger.stdin.close()
    return run


def lock_of_the_dead(scene: Scene) -> Path:
    """A process that held the device was killed: the next run must get it."""
    with device_taken(scene, scene.chance.choice(["turn", "trainer"])):
        run = scene.launch()
        scene.check_true(run, set())
        if scene.state(run).state not in ("queued", "starting"):
            raise Broken(f"the device is taken, and the run is {scene.state(run).state}")
    until(lambda: count_events(run), "its first event")
    return run


@contextlib.contextmanager
def create_times_off_by(seconds: float) -> Iterator[None]:
    """What a clock that was set does to the start times that are computed from it."""
    real = psutil.Process.create_time
    psutil.Process.create_time = lambda self: real(self) + seconds
    try:
        yield
    finally:
        psutil.Process.create_time = real
