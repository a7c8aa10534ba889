"""What a run is made of is killed, or stands still."""

import contextlib
from pathlib import Path

import psutil

from tests.faults.scene import (
    KILLED,
    Broken,
    Scene,
    kill,
    lives,
    process_of,
    until,
)
from trimcore import runs
from trimcore.jobs import control

STALLED = runs.STALLED_AFTER + 2


def trainer_killed(scene: Scene) -> Path:
    run = scene.launch()
    scene.some_moment(run)
    kill(run, "worker")
    scene.check_true(run, KILLED)
    return run


def supervisor_killed(scene: Scene) -> Path:
    """The trainer goes on without it."""
    run = scene.launch()
    scene.some_moment(run)
    trained = process_of(run, "worker") is not None
    kill(run, "supervisor")
    status = scene.check_true(run, KILLED)
    if trained and not status.active and status.state != "finished":
        raise Broken(f"the trainer did not go on without its supervisor: {status.state}, {status.reason}")
    return run


def both_killed(scene: Scene) -> Path:
    run, _ = scene.killed()
    return run


def killed_again_and_again(scene: Scene) -> Path:
    """Whatever is left of the time, each try gets a little further."""
    run = scene.launch()
    for _ in range(3):
        scene.some_moment(run)
        kill(run, scene.chance.choice(["supervisor", "worker"]), "worker")
        until(lambda: not scene.state(run).active, "its end")
        scene.check_true(run, KILLED)
        if scene.state(run).state == "finished":
            break
        control.resume(scene.folder, run.name)
    return run


def trainer_stands_still(scene: Scene) -> Path:
    """SIGSTOP: it is not dead, and after half a minute it is said to stand still."""
    run = scene.launch()
    scene.some_moment(run)
    trainer, long = process_of(run, "worker"), scene.chance.random() < 0.2
    if trainer is not None:
        trainer.suspend()
        try:
            scene.check_true(run, set())
            if long and scene.state(run).state == "running":
                until(lambda: scene.state(run).stalled or not lives(trainer), "being shown as stalled", STALLED + 5)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                trainer.resume()
    return run


def supervisor_stands_still(scene: Scene) -> Path:
    """What the trainer does goes on; the end is told when the supervisor wakes up."""
    run = scene.launch()
    scene.some_moment(run)
    supervisor = process_of(run, "supervisor")
    if supervisor is not None:
        supervisor.suspend()
        try:
            kill(run, *scene.chance.choice([(), ("worker",)]))
            scene.check_true(run, KILLED)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                supervisor.resume()
    return run
