"""The queue of a device: first come, first served. Imports no torch."""

from collections.abc import Iterator
from pathlib import Path

from trimcore import runs
from trimcore.jobs import awaited
from trimcore.system import processes
from trimcore.system.files import read_json


def before(folder: Path, device: str) -> Iterator[str]:
    """The runs ahead of this one in the queue of a device, including the one that is using it. Newest run id first. A
    run that waits for its parent lets others pass."""
    own = read_json(folder / "status.json").get("queued_at", 0)
    for run_id in runs.list_runs(folder.parent):
        other = folder.parent / run_id
        if other == folder or (other / "exit.json").exists():
            continue
        values = read_json(other / "status.json")
        ahead = (values.get("queued_at", 0), run_id) < (own, folder.name)
        if awaited.waits(folder.parent, values):
            continue
        if ahead and device in runs.devices_of(values) and processes.is_alive(values.get("supervisor")):
            yield run_id
