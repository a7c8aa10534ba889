"""The queue: what works on each device, and what waits for it, in which order. Imports no torch.

Runs wait in one order, whatever devices they use, so no two of them can wait for each other. First come, first served,
unless somebody moves them (see `reordering`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from trimcore import runs
from trimcore.jobs import awaited
from trimcore.jobs.locks import lock_path
from trimcore.runs.place import time_in
from trimcore.system import processes
from trimcore.system.files import read_json

Read = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """A run that works on its devices, or waits for all of them. Times are in seconds since the epoch; None is unknown.

    `status` is as `runs.state_of` gives it. `awaits` is the run whose base network a branch still waits for.
    """

    status: runs.Status
    devices: tuple[str, ...]
    waits: bool
    place: runs.Place
    queued_at: float | None = None
    started_at: float | None = None
    awaits: str = ""

    @property
    def run_id(self) -> str:
        return self.status.run_id

    @property
    def state(self) -> str:
        """The run's state, or "held" for a run that waits to be released."""
        return "held" if self.place.held and self.status.state == "queued" else self.status.state

    @property
    def key(self) -> tuple[float, float, str]:
        """Waiting runs are served in the order of their keys."""
        return self.place.rank, self.queued_at or 0.0, self.run_id

    @property
    def is_passed(self) -> bool:
        """Whether others go before it for now: it is held, or its parent is not ready."""
        return self.place.held or bool(self.awaits)

    def shares_device(self, other: "Entry") -> bool:
        return not set(self.devices).isdisjoint(other.devices)


def entries(runs_folder: Path, read: Read = read_json) -> list[Entry]:
    """The active runs: those that work, the longest first, then those that wait, in order. `read` may cache.

    Loops of a program's own are left out, since they take no device.
    """
    found = (entry_of(runs_folder / run_id, read) for run_id in runs.list_unfinished(runs_folder))
    active = [entry for entry in found if entry.status.active and not entry.status.values.get("own_loop")]
    working = sorted((e for e in active if not e.waits), key=lambda e: (e.started_at or 0.0, e.run_id))
    return working + sorted((e for e in active if e.waits), key=lambda e: e.key)


def entry_of(folder: Path, read: Read = read_json) -> Entry:
    """A run as an entry, whether or not it is active."""
    status = runs.state_of(folder, read)
    values = status.values
    queued_at, started_at = time_in(values, "queued_at"), time_in(values, "started_at")
    alive = any(processes.is_alive(values.get(role)) for role in ("supervisor", "trainer"))
    return Entry(
        status, tuple(dict.fromkeys(runs.devices_of(values))), alive and values.get("state") == "queued",
        runs.place_of(folder, queued_at or 0.0, read), queued_at, started_at, awaited.waits(folder.parent, values),
    )  # fmt: skip


def waiting(runs_folder: Path) -> list[Entry]:
    """The waiting runs in order."""
    return [entry for entry in entries(runs_folder) if entry.waits]


def ahead(entry: Entry, others: Sequence[Entry]) -> list[Entry]:
    """Those of `others` that go before a waiting run: the waiting ones, in order, that share a device with it and are
    not passed."""
    before = (e for e in others if e.waits and not e.is_passed and e.key < entry.key and e.run_id != entry.run_id)
    return [e for e in before if e.shares_device(entry)]


def position(folder: Path) -> int | None:
    """How many waiting runs go before this one. With 0, it may start as soon as its devices are free. None while others
    pass it. This reads the files of all active runs."""
    entry = entry_of(folder)
    return None if entry.is_passed else len(ahead(entry, waiting(folder.parent)))


def is_next(folder: Path) -> bool:
    """Whether a run is neither passed nor behind another one."""
    return position(folder) == 0


def by_device(found: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The entries of each device, in the same order. A run on several devices stands at each of them."""
    devices = sorted({device for entry in found for device in entry.devices})
    return {device: [entry for entry in found if device in entry.devices] for device in devices}


def lock(runs_folder: Path) -> FileLock:
    """Held while runs are moved, and while a run decides to start. So nobody moves a run that has just started."""
    return FileLock(lock_path(runs_folder, "queue", "order"), timeout=30)
