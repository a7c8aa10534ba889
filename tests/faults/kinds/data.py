"""The processes that load data of one's own die, hang, or raise; when they work again, a resume comes to the same."""

import contextlib
from pathlib import Path

import psutil

from tests.faults.kinds.own import OWN_DATA, launch_own, switch
from tests.faults.mine import COUNTS
from tests.faults.scene import Broken, Scene, process_of, until

REASONS = {
    "item-raises": "cannot be loaded: OSError: the picture",
    "item-hangs": "did not load within 3 s",
    "item-dies": "a process that loads items died",
}


def item_fails(scene: Scene) -> Path:
    """From some moment on, one of the items raises an error, hangs, or takes its process with it."""
    run = launch_own(scene, **OWN_DATA)
    harm = scene.chance.choice(list(REASONS))
    scene.some_moment(run)
    switch(scene, harm, scene.chance.randrange(COUNTS["validation"]))
    until(lambda: not scene.state(run).active, "its end")
    status = scene.check_true(run, {"failed"})
    if status.state == "failed" and REASONS[harm] not in status.reason:
        raise Broken(f"{harm}: the reason is not told: {status.reason}")
    switch(scene)
    return run


def loader_killed(scene: Scene) -> Path:
    """One of the processes that load items is killed, wherever the trainer is meanwhile."""
    run = launch_own(scene, **OWN_DATA)
    scene.some_moment(run)
    until(lambda: loaders(run) or not scene.state(run).active, "processes that load items")
    for process in loaders(run)[:1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    until(lambda: not scene.state(run).active, "its end")
    status = scene.check_true(run, {"failed"})
    if status.state == "failed" and REASONS["item-dies"] not in status.reason:
        raise Broken(f"the reason is not told: {status.reason}")
    return run


def loaders(run: Path) -> list[psutil.Process]:
    trainer = process_of(run, "worker")
    with contextlib.suppress(psutil.NoSuchProcess):
        return [one for one in trainer.children() if "multiprocessing" not in one.name()] if trainer else []
    return []
