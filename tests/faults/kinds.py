"""What can happen to a run: each does it at some moment, and checks what is particular to it.

A kind is `kind(scene)`; it launches a run, harms it, and leaves it to `Scene.to_its_end`, returning its folder.
"""

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from tests.dashboard.serving import ROOT, serving, wait_until_healthy
from tests.dashboard.viewers import viewing
from tests.faults.scene import (
    Broken,
    Scene,
    count_events,
    edit_json,
    environment,
    finished_files,
    kill,
    lives,
    process_of,
    until,
)
from trimcore import runs
from trimcore.errors import CheckpointError, RunError
from trimcore.files import checkpoint
from trimcore.jobs import control, resume_points
from trimcore.jobs.locks import lock_path

KILLED = {"failed", "lost"}
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
    run = scene.launch()
    scene.some_moment(run)
    kill(run, "supervisor", "worker")
    scene.check_true(run, KILLED)
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


def server_killed(scene: Scene) -> Path:
    """Two people watch; the run does not notice, and the server that comes next shows it."""
    run = scene.launch()
    with watched(scene, run) as (url, server):
        scene.some_moment(run)
        before = [process_of(run, role) for role in ("supervisor", "worker")]
        server.kill()
        server.wait()
        scene.check_true(run, set())
        for process in filter(None, before):
            if not lives(process) and scene.state(run).state != "finished":
                raise Broken("the run ended with the server")
    with watched(scene, run):
        pass
    return run


def all_three_killed(scene: Scene) -> Path:
    run = scene.launch()
    with watched(scene, run) as (url, server):
        scene.some_moment(run)
        kill(run, "supervisor", "worker")
        server.kill()
        server.wait()
    scene.check_true(run, KILLED)
    with watched(scene, run):
        pass
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
    run = scene.launch()
    scene.some_moment(run)
    kill(run, "supervisor", "worker")
    scene.check_true(run, KILLED)
    path = run / "events.jsonl"
    if path.exists() and scene.state(run).state != "finished":
        content = path.read_bytes()
        last = len(content.rstrip(b"\n").rpartition(b"\n")[2])
        path.write_bytes(content[: len(content) - scene.chance.randrange(last + 1)] if last else content)
        list(runs.read_events(run))
    return run


def torn_status(scene: Scene) -> Path:
    """Files that are replaced in one step cannot be torn; where a disk has done it all the same, nothing breaks."""
    run = scene.launch()
    scene.some_moment(run)
    kill(run, "supervisor", "worker")
    scene.check_true(run, KILLED)
    if scene.state(run).state != "finished":
        for name in ("status.json", "exit.json", "request.json"):
            (run / name).write_bytes(scene.chance.choice([b"", b"{", b"\xff\xfe\x00", b"[1, 2]", b'{"state": 3}']))
        scene.check_true(run, KILLED)
    return run


def newest_checkpoint_damaged(scene: Scene) -> Path:
    """Cut off, or with a flipped bit: the one before serves."""
    run = scene.launch()
    scene.some_moment(run)
    kill(run, "supervisor", "worker")
    scene.check_true(run, KILLED)
    path, previous = (run / "checkpoints" / name for name in (resume_points.NEWEST, resume_points.PREVIOUS))
    if path.exists() and previous.exists() and scene.state(run).state != "finished":
        damage(path, scene)
    return run


def iteration_damaged(scene: Scene) -> Path:
    """A finished network with a flipped bit is never given out as if it were whole; the run itself goes on."""
    run = scene.launch()
    scene.some_moment(run)
    kill(run, "supervisor", "worker")
    scene.check_true(run, KILLED)
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


def clock_jumps(scene: Scene) -> Path:
    """An hour forward, then a day back, while it runs: it lives all the same, and is not said to stand still for
    long."""
    clock = scene.folder.parent / "clock"
    clock.write_text("0")
    path = f"{Path(__file__).with_name('clock')}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
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
    run = scene.launch()
    scene.some_moment(run)
    kill(run, "supervisor", "worker")
    status = scene.check_true(run, KILLED)
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
    lock = lock_path(scene.folder, "cpu", scene.chance.choice(["turn", "trainer"]))
    holding = "import sys; from filelock import FileLock; FileLock(sys.argv[1]).acquire(); print('held', flush=True)"
    command = [sys.executable, "-c", f"{holding}; sys.stdin.read()", str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdout.readline()
        run = scene.launch()
        scene.check_true(run, set())
        if scene.state(run).state not in ("queued", "starting"):
            raise Broken(f"the device is taken, and the run is {scene.state(run).state}")
        holder.kill()
    until(lambda: count_events(run), "its first event")
    return run


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
    run = scene.launch()
    scene.some_moment(run)
    kill(run, "supervisor", "worker")
    status = scene.check_true(run, KILLED)
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


# --- means ---


@contextlib.contextmanager
def watched(scene: Scene, run: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """A server, and two people on the page of the run; it must have drawn it without a fault."""
    log = scene.folder.parent / "server.log"
    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(scene.folder), log=str(log)) as (url, server):
        wait_until_healthy(url, server, log)
        try:
            with viewing(f"{url}/run?run={run.name}", 2) as people:
                until(lambda: all(one.finished for one in people), "the page being drawn")
                yield url, server
        except AssertionError as error:
            if isinstance(error, Broken) or server.poll() is None:
                raise  # people whose server was killed are told so
    if "Traceback" in log.read_text("utf-8", "replace"):
        raise Broken(f"the server had a fault: see {log}")


def limit(run: Path, kind: int, value: int) -> None:
    """A limit of the trainer, and of what its supervisor starts from now on."""
    for role in ("supervisor", "worker"):
        if role == "supervisor" and kind == resource.RLIMIT_AS:
            continue
        with contextlib.suppress(psutil.NoSuchProcess, AttributeError):
            process_of(run, role).rlimit(kind, (value, value))


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


@contextlib.contextmanager
def create_times_off_by(seconds: float) -> Iterator[None]:
    """What a clock that was set does to the start times that are computed from it."""
    real = psutil.Process.create_time
    psutil.Process.create_time = lambda self: real(self) + seconds
    try:
        yield
    finally:
        psutil.Process.create_time = real


KINDS: dict[str, Callable[[Scene], Path]] = {
    "trainer killed": trainer_killed, "supervisor killed": supervisor_killed, "both killed": both_killed,
    "killed again and again": killed_again_and_again, "server killed": server_killed,
    "all three killed": all_three_killed, "trainer stands still": trainer_stands_still,
    "supervisor stands still": supervisor_stands_still, "files limited in size": files_limited,
    "disk full": disk_full, "folder not writable": folder_not_writable, "torn event": torn_event,
    "torn status": torn_status, "newest checkpoint damaged": newest_checkpoint_damaged,
    "finished checkpoint damaged": iteration_damaged, "clock jumps": clock_jumps, "pid used again": pid_used_again,
    "lock of a dead process": lock_of_the_dead, "stopped in the middle": stopped_in_the_middle,
    "two resume at once": two_resume_at_once, "loss not a number": loss_not_a_number, "out of memory": out_of_memory,
}  # fmt: skip
NEEDS_ROOT = ("disk full",)
