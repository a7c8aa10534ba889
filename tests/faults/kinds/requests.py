"""What people ask for."""

import contextlib
import subprocess
import sys
from pathlib import Path

from tests.dashboard.serving import ROOT
from tests.faults.scene import (
    Broken,
    Scene,
    until,
)
from trimcore.errors import RunError
from trimcore.jobs import control


def stopped_in_the_middle(scene: Scene) -> Path:
    """Stop, or pause: nothing of it is left when it says so."""
    run = scene.launch()
    scene.some_moment(run)
    with contextlib.suppress(RunError):  # it has ended already
        control.ask(scene.folder, run.name, scene.chance.choice(["stop", "pause", "stop"]))
    until(lambda: not scene.state(run).active, "its end")
    scene.check_true(run, {"stopped", "paused"})
    return run


def two_resume_at_once(scene: Scene) -> Path:
    """Two people press Resume in the same moment: one run, one trainer."""
    run, status = scene.killed()
    if status.state == "finished":
        return run
    command = [sys.executable, "-m", "trimcore", "resume", run.name, "--runs", str(scene.folder)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    codes = sorted(one.wait(60) for one in both)
    if codes != [0, 2] and scene.state(run).active:
        raise Broken(f"both were told that they have resumed it: exit codes {codes}")
    return run


def loss_not_a_number(scene: Scene) -> Path:
    """A learning rate that is far too high ends the run with a line that says so; another run is not harmed."""
    bad = scene.launch(base={"epochs": 2, "lr": 10.0, "momentum": 0.99}, seed=scene.chance.randrange(1000))
    until(lambda: not scene.state(bad).active, "its end")
    status = scene.check_true(bad, {"failed"})
    if status.state == "failed" and "try a lower lr" not in status.reason:
        raise Broken(f"the reason is not told: {status.reason}")
    return scene.launch()
