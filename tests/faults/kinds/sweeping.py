"""A sweep is interrupted, and completed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import tomli_w

from tests.dashboard.serving import ROOT
from tests.faults.scene import ASKED, KILLED, Broken, Scene, count_events, living, until
from trimcore import spec
from trimcore.jobs import restoring
from trimcore.jobs import sweeps as jobs
from trimcore.runs import sweeps

VALUES = [0.3, 0.6]
STEP = {"layers": ["conv2", "fc1"], "rule": "fraction", "value": VALUES[0]}
# A branch has no momentum to keep at its first cut, which a run that trains its own base network has.
PLAIN = {**ASKED, "base": {"epochs": 1}, "retrain": {"epochs": 1}, "step": [STEP]}


def sweep_interrupted(scene: Scene) -> Path:
    """Everything of it is killed while it is launched, while its base network is trained, or later. Completed, it has
    each of its points once, as asked."""
    scene.compare_with("sweep", lambda other: other.launch(**PLAIN))
    sweep_id, launcher = launched(scene)
    stage = scene.chance.choice(["launching", "base", "middle"])
    if stage == "base":
        until(lambda: events(scene) >= 1 + scene.chance.randrange(3), "training")
    elif stage == "middle":
        until(lambda: any(count_events(run) for run in points(scene, sweep_id).values()), "a point at work")
    time.sleep(scene.chance.random() * scene.chance.choice([0.0, 0.1, 1.0, 3.0]))
    kill_everything(scene, launcher)
    for run in scene.folder.glob("*-*"):
        if (run / "spec.toml").exists():
            scene.check_true(run, KILLED)
    for _ in range(3):
        jobs.complete(scene.folder, sweep_id)
        own = [scene.folder / run_id for run_id in sweeps.members(scene.folder, sweep_id)]
        until(lambda: not any(scene.state(run).active for run in own), "the end of all its runs")  # noqa: B023
        if jobs.is_complete(scene.folder, sweep_id):
            break
    check(scene, sweep_id)
    return points(scene, sweep_id)[0]


def launched(scene: Scene) -> tuple[str, subprocess.Popen]:
    """The sweep, as soon as it has an id, and the process that is launching its runs."""
    file = scene.folder.parent / "sweep.toml"
    file.write_text(tomli_w.dumps({**PLAIN, "sweep": {"values": {"step.value": VALUES}}}), "utf-8")
    command = [sys.executable, "-m", "trimcore", "launch", str(file), "--runs", str(scene.folder)]
    launcher = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    until(lambda: sweeps.list_sweeps(scene.folder), "an id")
    return sweeps.list_sweeps(scene.folder)[0], launcher


def kill_everything(scene: Scene, launcher: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(launcher.pid, signal.SIGKILL)
    launcher.wait()

    def dead() -> bool:
        found = [process for run in scene.folder.glob("*-*") for process in living(run)]
        for process in found:
            with contextlib.suppress(OSError):
                process.kill()
        return not found

    until(dead, "all being dead")


def events(scene: Scene) -> int:
    return sum(count_events(run) for run in scene.folder.glob("*-*"))


def points(scene: Scene, sweep_id: str) -> dict[int, Path]:
    own = sweeps.members(scene.folder, sweep_id)
    return {member.point: scene.folder / run_id for run_id, member in own.items() if member.point is not None}


def check(scene: Scene, sweep_id: str) -> None:
    own = sweeps.members(scene.folder, sweep_id)
    places = [(member.base, member.point) for member in own.values()]
    if places != [(0, None), (None, 0), (None, 1)]:
        raise Broken(f"the sweep has the base networks and points {places}")
    for run_id, member in own.items():
        status = scene.state(scene.folder / run_id)
        if status.state != "finished":
            raise Broken(f"{member.label} is {status.state}: {status.reason}")
        asked = spec.load(scene.folder / run_id / "spec.toml")
        if member.point is not None and [step.value for step in asked.step] != [VALUES[member.point]]:
            raise Broken(f"point {member.point} has the step {asked.step}")
    if again := restoring.restorable(scene.folder):
        raise Broken(f"runs that belong to no sweep would be put back into the queue: {', '.join(again)}")
