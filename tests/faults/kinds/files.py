"""Files of a run are torn, damaged, or cannot be written."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults.scene import (
    KILLED,
    Broken,
    Scene,
    finished_files,
    until,
)
from trimcore import runs
from trimcore.errors import CheckpointError, RunError
from trimcore.files import checkpoint
from trimcore.jobs import control, resume_points


def folder_not_writable(scene: Scene) -> Path:
    """Nothing can be made or moved in the run's folder any more; then it can be again."""
    run = scene.launch()
    scene.some_moment(run)
    with unwritable(run), unwritable(run / "checkpoints"):
        until(lambda: not scene.state(run).active, "its end")
        scene.check_true(run, KILLED)
        with contextlib.suppress(RunError, OSError):  # it may not, and nothing may break
            control.resume(scene.folder, run.name)
            raise Broken("it was resumed in a folder that cannot be written")
    with unwritable(scene.folder):
        try:
            scene.launch()
            raise Broken("it was launched in a folder that cannot be written")
        except RunError:
            pass
    return run


def torn_event(scene: Scene) -> Path:
    """The machine went down in the middle of a line."""
    run, _ = scene.killed()
    path = run / "events.jsonl"
    if path.exists() and scene.state(run).state != "finished":
        content = path.read_bytes()
        last = len(content.rstrip(b"\n").rpartition(b"\n")[2])
        path.write_bytes(content[: len(content) - scene.chance.randrange(last + 1)] if last else content)
        list(runs.read_events(run))
    return run


def torn_status(scene: Scene) -> Path:
    """Files that are replaced in one step cannot be torn; where a disk has done it all the same, nothing breaks."""
    run, _ = scene.killed()
    if scene.state(run).state != "finished":
        for name in ("status.json", "exit.json", "request.json"):
            (run / name).write_bytes(scene.chance.choice([b"", b"{", b"\xff\xfe\x00", b"[1, 2]", b'{"state": 3}']))
        scene.check_true(run, KILLED)
    return run


def newest_checkpoint_damaged(scene: Scene) -> Path:
    """Cut off, or with a flipped bit: the one before serves."""
    run, _ = scene.killed()
    path, previous = (run / "checkpoints" / name for name in (resume_points.NEWEST, resume_points.PREVIOUS))
    if path.exists() and previous.exists() and scene.state(run).state != "finished":
        damage(path, scene)
    return run


def iteration_damaged(scene: Scene) -> Path:
    """A finished network with a flipped bit is never given out as if it were whole; the run itself goes on."""
    run, _ = scene.killed()
    if done := finished_files(run):
        path = run / "checkpoints" / scene.chance.choice(list(done))
        whole = path.read_bytes()
        damage(path, scene)
        try:
            checkpoint.load(path)
            raise Broken(f"{path.name} was damaged, and nobody noticed")
        except CheckpointError:
            path.write_bytes(whole)
    return run


@contextlib.contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """For root too, where the file system knows how."""
    chattr = ["chattr", "{}", str(folder)]
    immutable = os.geteuid() == 0
    if immutable:
        subprocess.run([word.format("+i") for word in chattr], check=True)
    else:
        folder.chmod(0o555)
    try:
        yield
    finally:
        if immutable:
            subprocess.run([word.format("-i") for word in chattr], check=True)
        else:
            folder.chmod(0o755)


def damage(path: Path, scene: Scene) -> None:
    content = bytearray(path.read_bytes())
    if scene.chance.random() < 0.5:
        content = content[: scene.chance.randrange(len(content))]
    else:
        # in the weights, which are most of it: archives have bytes that mean nothing
        content[scene.chance.randrange(len(content) // 4, 3 * len(content) // 4)] ^= 1 << scene.chance.randrange(8)
    path.write_bytes(content)
