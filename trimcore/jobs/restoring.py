"""Put runs back into the queue that waited when their supervisors died, for example because the machine was restarted.
And record how runs ended whose processes could not. Imports no torch.

What only looks at runs writes nothing. So those who act on them record it: `doctor`, `restore` and `resume`.
"""

import contextlib
import socket
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trimcore import runs
from trimcore.errors import RunError, TrimError
from trimcore.jobs import control
from trimcore.jobs.locks import lock_path
from trimcore.jobs.queue import Read, entry_of
from trimcore.system.files import read_json


def restorable(runs_folder: Path, read: Read = read_json) -> list[str]:
    """The lost runs that waited in the queue, in their order. `read` may cache."""
    folders = [runs_folder / run_id for run_id in runs.list_unfinished(runs_folder)]
    found = [entry_of(folder, read) for folder in folders if _waited(read(folder / "status.json"))]
    lost = sorted((entry for entry in found if entry.status.state == "lost"), key=lambda entry: entry.key)
    return [entry.run_id for entry in lost if _can_return(runs_folder / entry.run_id)]


def restore(runs_folder: Path) -> list[str]:
    """Put all restorable runs back in their old order, held ones as held. Returns them. If several people do this at
    once, each run is put back once. Raises RunError if a run cannot be put back, after the others have been."""
    back, problems = [], []
    for run_id in restorable(runs_folder):
        try:
            control.resume(runs_folder, run_id, keep_place=True)
            back.append(run_id)
        except TrimError as error:
            if not runs.state_of(runs_folder / run_id).active:  # otherwise somebody else was quicker
                problems.append(str(error))
    if problems:
        raise RunError(f"{len(back)} of {len(back) + len(problems)} runs are back in the queue; {problems[0]}")
    return back


def record_ends(runs_folder: Path) -> list[str]:
    """Bring status.json up to date for runs of this machine whose processes are gone without recording an end: most of
    them are lost. Returns these runs. The state that a lost run was in is kept as `lost_from`."""
    found = []
    for run_id in runs.list_unfinished(runs_folder):
        folder = runs_folder / run_id
        if not _is_outdated(folder):
            continue
        with contextlib.suppress(OSError, Timeout), FileLock(lock_path(runs_folder, run_id, "resume"), timeout=30):
            if _is_outdated(folder):
                status = runs.state_of(folder)
                before = {"lost_from": status.values.get("state")} if status.state == "lost" else {}
                outcome = {"state": status.state, "reason": status.reason}
                runs.update_status(folder, state=status.state, outcome=outcome, **before)
                found.append(run_id)
    return found


def _waited(values: dict[str, Any]) -> bool:
    return "queued" in (values.get("state"), values.get("lost_from"))


def _can_return(folder: Path) -> bool:
    """Whether a lost run may go back: nobody has taken it out, and a process of its own can carry it out here."""
    left = runs.requested(folder) in ("stop", "pause")
    return not left and not control.is_brought(folder) and control.can_resume(folder)


def _is_outdated(folder: Path) -> bool:
    status = runs.state_of(folder)
    named = [status.values.get(role) for role in ("trainer", "supervisor", "launcher")]
    hosts = {str(process.get("host")) for process in named if isinstance(process, dict)}
    here = hosts == {socket.gethostname()} and not control.is_brought(folder)
    return here and not status.active and status.values.get("state") != status.state
