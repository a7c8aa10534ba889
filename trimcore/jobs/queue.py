"""The queue of a device: who asked first goes first. Imports no torch."""

from collections.abc import Iterator
from pathlib import Path

from trimcore import runs
from trimcore.system import processes
from trimcore.system.files import read_json


def before(folder: Path, device: str) -> Iterator[str]:
    """The runs that stand before this one in the queue of a device, or have it now; the one that asked last first."""
    mine = read_json(folder / "status.json").get("queued_at", 0)
    for run_id in runs.list_runs(folder.parent):
        other = folder.parent / run_id
        if other == folder or (other / "exit.json").exists():
            continue
        values = read_json(other / "status.json")
        first = (values.get("queued_at", 0), run_id) < (mine, folder.name)
        if first and device in runs.devices_of(values) and processes.is_alive(values.get("supervisor")):
            yield run_id
