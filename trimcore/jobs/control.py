"""Start runs and control them. Used by both the command line and the dashboard."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from trimcore import runs
from trimcore.errors import RunError, SpecError
from trimcore.jobs import awaited
from trimcore.jobs.locks import lock_path
from trimcore.jobs.supervisor import GRACE
from trimcore.runs import sweeps
from trimcore.spec import Parent, Spec, dumps
from trimcore.system import own_code, processes
from trimcore.system.files import read_json

RESUMABLE = ("paused", "stopped", "failed", "lost")


def prepare_run(spec: Spec, runs_folder: Path, member: sweeps.Member | None = None) -> Path:
    """Create a run folder for a spec, in a sweep as this member. A user-defined model is imported here, so a mistake in
    it shows before anything starts.

    Raises SpecError for an unknown model or an unavailable device, DataError for missing data, TrimError for a missing
    package, and RunError for a missing parent or if the folder cannot be written.
    """
    from trimcore.data import check_there
    from trimcore.models import architecture
    from trimcore.tasks import task_for
    from trimcore.training.devices import devices_of

    if spec.sweep:
        raise SpecError("a spec with [sweep] stands for several runs: start it with `launch` or `run`")
    check_allowed(spec.model, spec.data, spec.task)
    architecture(spec.model)
    task_for(spec.task)
    devices = devices_of(spec)
    check_there(spec.data)
    if spec.log.tensorboard:
        from trimcore.jobs import event_files

        event_files.need()
    awaits = _awaited(spec.parent, runs_folder) if spec.parent else {}

    def write(folder: Path) -> None:
        runs.update_status(
            folder, state="queued", device_key=devices[0], more_devices=devices[1:], working_folder=os.getcwd(),
            launcher=processes.identity(), queued_at=time.time(), **awaits,
        )  # fmt: skip
        if member:
            sweeps.write_member(folder, member)

    return runs.create(runs_folder, spec.model, dumps(spec), write)


def _awaited(parent: Parent, runs_folder: Path) -> dict[str, Any]:
    """The entry in status.json of a branch whose parent is still training the base network; {} if it can start."""
    folder = runs.open_run(runs_folder, parent.run)
    if runs.checkpoint_path(folder, parent.iteration).is_file():
        return {}
    if parent.iteration == 0 and runs.state_of(folder).active:
        return awaited.entry(parent.run, 0)
    raise RunError(f"run {parent.run!r} has no iteration {parent.iteration} to branch from")


def launch(spec: Spec, runs_folder: Path) -> str:
    """Start a run in the background and return its id at once. The run is queued while its device is busy."""
    folder = prepare_run(spec, runs_folder)
    _start_supervisor(folder)
    return folder.name


def _start_supervisor(folder: Path) -> None:
    await_all([start(folder)])


Starting = tuple[Path, subprocess.Popen[bytes]]  # a run, and its supervisor that may not have registered itself yet


def start(folder: Path) -> Starting:
    """Start the supervisor of a run that was prepared."""
    working_folder = read_json(folder / "status.json").get("working_folder", "")  # for own modules and relative paths
    with open(folder / "log.txt", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "trimcore.jobs.supervisor", str(folder.resolve())],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "PYTHONPATH": processes.python_path()},
            cwd=working_folder if os.path.isdir(working_folder) else None,
        )  # fmt: skip
    return folder, process


def await_all(starting: Iterable[Starting]) -> None:
    """Return once each supervisor has registered itself. Raises RunError for one that could not start."""
    for folder, process in starting:
        _await_supervisor(folder, process)


def _await_supervisor(folder: Path, process: subprocess.Popen[bytes], limit: float = 20.0) -> None:
    """Return once the supervisor has registered itself, so that the run always has a live process on record."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        supervisor = read_json(folder / "status.json").get("supervisor") or {}
        if supervisor.get("pid") == process.pid:
            return
        if process.poll() is not None and not (folder / "exit.json").exists():
            reason = f"the supervisor of {folder.name} exited at once; see {folder / 'log.txt'}"
            runs.write_exit(folder, "failed", reason)
            raise RunError(reason)
        time.sleep(0.02)


def resume(runs_folder: Path, run_id: str, keep_place: bool = False) -> None:
    """Resume a paused, stopped, failed or lost run from its last epoch. It goes to the end of the queue, or keeps the
    place that it had.

    Raises RunError for a run in any other state or from another installation, and if its folder cannot be written.
    Raises SpecError for a user-defined network if this process must not import user code.
    """
    folder = runs.open_run(runs_folder, run_id)
    if not can_resume(folder):
        raise RunError(f"run {run_id!r} was carried out by a Python program, which passed objects: continue it there")
    reopen(folder, keep_place)
    with _as_run_error(folder):
        _start_supervisor(folder)


def can_resume(folder: Path) -> bool:
    """Whether a process of its own can continue the run: not if a program passed it objects, or trained in a loop of
    its own."""
    try:
        values = tomllib.loads((folder / "spec.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return True  # the run itself will report this
    return not any(str(values.get(key, "")).startswith(own_code.OBJECT) for key in ("model", "data", "task"))


def reopen(folder: Path, keep_place: bool = False) -> None:
    """Put a run that has ended back to the state queued. Raises the errors of `resume`."""
    run_id = folder.name
    if is_brought(folder):
        raise RunError(f"run {run_id!r} comes from another installation: branch from one of its iterations instead")
    with _as_run_error(folder), FileLock(lock_path(folder.parent, run_id, "resume"), timeout=30):  # requests may race
        state = runs.state_of(folder).state
        if state not in RESUMABLE:
            raise RunError(f"run {run_id!r} is {state}; it can be resumed if it is {', '.join(RESUMABLE)}")
        _check_allowed(folder)
        if sweeps.is_by_rule(runs.state_of(folder).reason):
            sweeps.exempt(folder)  # somebody wants to see how it goes on
        (folder / "exit.json").unlink(missing_ok=True)
        (folder / "request.json").unlink(missing_ok=True)
        changed = dict.fromkeys(("supervisor", "trainer", "outcome", "lost_from", "started_at"))
        if not keep_place:
            (folder / "queue.json").unlink(missing_ok=True)
            changed["queued_at"] = time.time()
        runs.update_status(folder, state="queued", launcher=processes.identity(), **changed)


@contextlib.contextmanager
def _as_run_error(folder: Path) -> Iterator[None]:
    """Turn an OSError from writing the run's folder into a one-line RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(f"run {folder.name!r}: {error.strerror or error} ({error.filename or folder})") from None


def check_allowed(model: str, data: str, task: str) -> None:
    """Raise SpecError if any of these is user code that this process must not import."""
    if ":" not in f"{model}{data}{task}":
        return  # so that most requests load no torch
    from trimcore.data import is_own
    from trimcore.models.own import is_user_defined

    for kind, name, own in (
        ("model", model, is_user_defined(model)),
        ("data", data, is_own(data)),
        ("task", task, ":" in task),
    ):
        if own and ":" in name:
            own_code.check_allowed(kind, name)


def is_brought(folder: Path) -> bool:
    """Whether a run came from another installation (see `runs.archive`): it can be viewed and branched from only."""
    return (folder / "brought.json").exists()


def _check_allowed(folder: Path) -> None:
    """Raise SpecError if the run needs user code that this process must not import."""
    try:
        values = tomllib.loads((folder / "spec.toml").read_text("utf-8"))
        model, data, task = (str(values.get(key, "")) for key in ("model", "data", "task"))
    except (OSError, ValueError):
        return  # the run itself will report this
    check_allowed(model, data, task)


def ask(runs_folder: Path, run_id: str, action: str) -> None:
    """Ask an active run to stop, pause or finish. Raises RunError if it has ended or its folder cannot be written."""
    folder = runs.open_run(runs_folder, run_id)
    status = runs.state_of(folder)
    if not status.active:
        raise RunError(f"run {run_id!r} is already {status.state}")
    if status.state == "stopping" and action != "stop":
        raise RunError(f"run {run_id!r} is already stopping")
    with _as_run_error(folder):
        runs.request(folder, action)
    trainer = status.values.get("trainer")
    unsupervised = not processes.is_alive(status.values.get("supervisor"))
    in_program = status.values.get("own_loop") or status.values.get("in_program")  # it sees the request, and lives on
    if action == "stop" and unsupervised and not in_program and trainer and processes.is_alive(trainer):
        _terminate(trainer["pid"])  # without a supervisor, nobody else would
        if runs.state_of(folder).state == "lost":  # it was killed before it recorded an outcome
            runs.write_exit(folder, "stopped", "stopped on request")


def _terminate(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired, ProcessLookupError):
        process = psutil.Process(pid)
        try:
            process.wait(GRACE)  # the trainer sees the request at its next batch
        except psutil.TimeoutExpired:
            os.killpg(pid, signal.SIGKILL)
            process.wait(5)


def wait_for(runs_folder: Path, run_id: str, until: Callable[[runs.Status], object], limit: float) -> runs.Status:
    """Poll until `until(status)` is true or `limit` seconds have passed. Returns the last status."""
    folder, deadline = runs.open_run(runs_folder, run_id), time.monotonic() + limit
    while True:
        status = runs.state_of(folder)
        if until(status) or time.monotonic() > deadline:
            return status
        time.sleep(0.1)
