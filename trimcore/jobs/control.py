"""Starting runs and asking things of them: what the command line and the page have in common."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from filelock import FileLock

from trimcore import runs
from trimcore.errors import RunError
from trimcore.jobs.locks import lock_path
from trimcore.jobs.supervisor import GRACE
from trimcore.spec import Spec, dumps
from trimcore.system import processes
from trimcore.system.files import read_json

RESUMABLE = ("paused", "stopped", "failed", "lost")


def prepare_run(spec: Spec, runs_folder: Path) -> Path:
    """A run folder for a spec. Raises SpecError for a device, parent or model that is not there, RunError without
    space. A model of the user's own is imported here, so that a mistake in it is known before anything starts."""
    from trimcore.data import check_there
    from trimcore.models import architecture
    from trimcore.training.devices import devices_of

    architecture(spec.model)
    devices = devices_of(spec)
    check_there(spec.data)
    if spec.parent:
        parent = runs.open_run(runs_folder, spec.parent.run)
        if not runs.checkpoint_path(parent, spec.parent.iteration).is_file():
            raise RunError(f"run {spec.parent.run!r} has no iteration {spec.parent.iteration} to begin from")
    folder = runs.create(runs_folder, spec.model, dumps(spec))
    with _told(folder):
        runs.update_status(
            folder, state="queued", device_key=devices[0], more_devices=devices[1:], working_folder=os.getcwd(),
            launcher=processes.identity(), queued_at=time.time(),
        )  # fmt: skip
    return folder


def launch(spec: Spec, runs_folder: Path) -> str:
    """Start a run in the background and return its id at once. It waits in the queue while the device is taken."""
    folder = prepare_run(spec, runs_folder)
    _start_supervisor(folder)
    return folder.name


def _start_supervisor(folder: Path) -> None:
    begun = read_json(folder / "status.json").get("working_folder", "")  # its modules and relative paths are there
    with open(folder / "log.txt", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "trimcore.jobs.supervisor", str(folder.resolve())],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "PYTHONPATH": processes.python_path()}, cwd=begun if os.path.isdir(begun) else None,
        )  # fmt: skip
    _await_supervisor(folder, process)


def _await_supervisor(folder: Path, process: subprocess.Popen[bytes], limit: float = 20.0) -> None:
    """Return once the supervisor has said who it is, so that the run is never without a living process to its name."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        supervisor = read_json(folder / "status.json").get("supervisor") or {}
        if supervisor.get("pid") == process.pid:
            return
        if process.poll() is not None and not (folder / "exit.json").exists():
            reason = f"the supervisor of {folder.name} ended at once; see {folder / 'log.txt'}"
            runs.write_exit(folder, "failed", reason)
            raise RunError(reason)
        time.sleep(0.02)


def resume(runs_folder: Path, run_id: str) -> None:
    """Let a paused, stopped, failed or lost run go on from its last epoch. Raises RunError in any other state and where
    its folder cannot be written, and SpecError for a network of the user's own where this process must not have it
    imported."""
    folder = runs.open_run(runs_folder, run_id)
    if is_brought(folder):
        raise RunError(f"run {run_id!r} was brought from another installation: branch from one of its iterations")
    with _told(folder), FileLock(lock_path(runs_folder, run_id, "resume"), timeout=30):  # two may ask at once
        state = runs.state_of(folder).state
        if state not in RESUMABLE:
            raise RunError(f"run {run_id!r} is {state}; only a run that is {', '.join(RESUMABLE)} can be resumed")
        _check_allowed(folder)
        (folder / "exit.json").unlink(missing_ok=True)
        (folder / "request.json").unlink(missing_ok=True)
        nobody = {"supervisor": None, "trainer": None, "outcome": None}
        runs.update_status(folder, state="queued", launcher=processes.identity(), queued_at=time.time(), **nobody)
        _start_supervisor(folder)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Raises RunError, in one line, where the run's folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise RunError(f"run {folder.name!r}: {error.strerror or error} ({error.filename or folder})") from None


def is_brought(folder: Path) -> bool:
    """Whether a run came from another installation (see `parcel`): it can be looked at, and branched from."""
    return (folder / "brought.json").exists()


def _check_allowed(folder: Path) -> None:
    """Raises SpecError where this process must not have the run's network imported."""
    try:
        model = str(tomllib.loads((folder / "spec.toml").read_text("utf-8")).get("model", ""))
    except (OSError, ValueError):
        return  # the run will say so
    if ":" in model:
        from trimcore.models.own import check_allowed

        check_allowed(model)


def ask(runs_folder: Path, run_id: str, action: str) -> None:
    """Ask an active run to stop, pause or finish. Raises RunError when it has ended already, or cannot be told."""
    folder = runs.open_run(runs_folder, run_id)
    status = runs.state_of(folder)
    if not status.active:
        raise RunError(f"run {run_id!r} is {status.state} already")
    if status.state == "stopping" and action != "stop":
        raise RunError(f"run {run_id!r} is stopping already")
    with _told(folder):
        runs.request(folder, action)
    trainer = status.values.get("trainer")
    alone = not processes.is_alive(status.values.get("supervisor"))
    if action == "stop" and alone and trainer and processes.is_alive(trainer):
        _terminate(trainer["pid"])  # nobody else is there to insist
        if runs.state_of(folder).state == "lost":  # it was killed before it could say a word
            runs.write_exit(folder, "stopped", "stopped on request")


def _terminate(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired, ProcessLookupError):
        process = psutil.Process(pid)
        try:
            process.wait(GRACE)  # it sees the request at its next batch
        except psutil.TimeoutExpired:
            os.killpg(pid, signal.SIGKILL)
            process.wait(5)


def wait_for(runs_folder: Path, run_id: str, until: Callable[[runs.Status], object], limit: float) -> runs.Status:
    """Poll until `until(status)` holds or `limit` seconds have passed; returns the last status."""
    folder, deadline = runs.open_run(runs_folder, run_id), time.monotonic() + limit
    while True:
        status = runs.state_of(folder)
        if until(status) or time.monotonic() > deadline:
            return status
        time.sleep(0.1)
