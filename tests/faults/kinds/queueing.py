"""What happens to runs while they wait: their place is torn, the disk is full, the machine is restarted."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from tests.dashboard.serving import ROOT
from tests.faults.kinds.machine import CLOCK, create_times_off_by
from tests.faults.kinds.room import filled, small_disk
from tests.faults.kinds.waiting import check_order, device_taken, launch_three, order
from tests.faults.scene import Broken, Scene, edit_json, environment, living, until
from trimcore.errors import RunError
from trimcore.jobs import reordering, restoring
from trimcore.system.files import read_json

TORN = (b"", b"{", b"\xff\xfe\x00", b"[1, 2]", b'{"rank": "x"}', b'{"rank": NaN, "held": true}', b'{"rank": 1e300}')


def torn_place(scene: Scene) -> Path:
    """A damaged place counts as none; the queue can be read and changed, and all come to their end."""
    with device_taken(scene):
        waiting = launch_three(scene)
        shuffle(scene)
        for run in scene.chance.sample(waiting, 2):
            whole = (run / "queue.json").read_bytes() if (run / "queue.json").exists() else b""
            (run / "queue.json").write_bytes(scene.chance.choice([*TORN, whole[: len(whole) // 2]]))
        found = order(scene)
        if set(found) != {run.name for run in waiting}:
            raise Broken(f"these wait in the queue: {', '.join(found)}")
        reordering.move(scene.folder, found[2], "first")
        check_order(scene, [found[2], *found[:2]])
        reordering.hold(scene.folder, found[1])
        reordering.release(scene.folder, found[1])
        check_order(scene, [found[2], *found[:2]])
    for run in waiting:
        scene.finish(run)
    return waiting[0]


def disk_full_in_the_queue(scene: Scene) -> Path:
    """Nobody can move anything, and is told so; nothing is lost."""
    small_disk(scene)
    with device_taken(scene):
        waiting = launch_three(scene)
        shuffle(scene)
        before = order(scene)
        places = [read_json(run / "queue.json") for run in waiting]
        with filled(scene.folder):
            for change in (lambda: reordering.move(scene.folder, before[2], "first"),
                           lambda: reordering.hold(scene.folder, before[0]), scene.launch):  # fmt: skip
                told(change)
            check_order(scene, before)
            if [read_json(run / "queue.json") for run in waiting] != places:
                raise Broken("a place in the queue has changed")
            for run in waiting:
                scene.check_true(run, set())
        reordering.move(scene.folder, before[2], "first")
        check_order(scene, [before[2], *before[:2]])
    for run in waiting:
        scene.finish(run)
    return waiting[0]


def told(change) -> None:
    try:
        change()
    except RunError as error:
        if "No space left" not in str(error) or "\n" in str(error):
            raise Broken(f"the reason is not told: {error}") from None
    else:
        raise Broken("on a full disk, the queue was changed")


def restarted(scene: Scene) -> Path:
    """The machine went down and has another boot, another clock, and strangers with the old pids. What waited goes back
    in its order."""
    all_of_them = launch_three(scene)
    shuffle(scene)
    scene.some_moment(all_of_them[0])
    before = order(scene)
    for run in sorted(all_of_them, key=lambda run: run.name not in before):  # else the next would start
        for process in living(run):
            with contextlib.suppress(OSError):
                process.kill()
    until(lambda: not any(living(run) for run in all_of_them), "all being dead")
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as stranger:
        for run in all_of_them:
            values = read_json(run / "status.json")
            named = {role: values[role] for role in ("supervisor", "trainer", "launcher") if values.get(role)}
            boot = {role: {**who, "pid": stranger.pid, "boot": "before"} for role, who in named.items()}
            edit_json(run / "status.json", **boot)
        hours = scene.chance.choice([-24, -1, 1, 24])
        clock = scene.folder.parent / "clock"
        clock.write_text(str(hours * 3600))
        with create_times_off_by(hours * 3600):
            for run in all_of_them:
                scene.check_true(run, {"lost"})
            waited = [one for one in before if read_json(scene.folder / one / "status.json")["state"] == "queued"]
            if restoring.restorable(scene.folder) != waited:
                raise Broken(f"restorable are {restoring.restorable(scene.folder)}; these waited: {waited}")
        path = f"{CLOCK}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        with device_taken(scene), environment(TEST_CLOCK=str(clock), PYTHONPATH=path):
            restore(scene, waited)
            check_order(scene, waited)
        if stranger.poll() is not None:
            raise Broken("a process that is not ours was ended")
        stranger.stdin.close()
    for run in all_of_them:
        scene.finish(run)
    return all_of_them[0]


def restore(scene: Scene, waited: list[str]) -> None:
    command = [sys.executable, "-m", "trimcore", "queue", "--restore", "--runs", str(scene.folder)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    wanted = f"put back: {', '.join(waited)}" if waited else "there is no run to put back"
    if said.returncode or wanted not in said.stdout:
        raise Broken(f"queue --restore said {said.stdout!r} and {said.stderr!r}")


def shuffle(scene: Scene) -> None:
    """Somebody has moved one of those that wait, so that it has a place of its own."""
    with contextlib.suppress(RunError):
        reordering.move(scene.folder, order(scene)[-1], scene.chance.choice(["first", "up"]))
