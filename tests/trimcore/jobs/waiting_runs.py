"""Run folders of runs that wait, without processes of their own: this process is recorded as their supervisor."""

from pathlib import Path

from trimcore import runs
from trimcore.jobs import queue
from trimcore.system import processes


def wait_in(runs_folder: Path, at: float, *devices: str, **values) -> Path:
    """A run that was queued at this time for these devices, by default the CPU."""
    folder = runs.create(runs_folder, "lenet5", 'model = "lenet5"\n')
    first, *more = devices or ("cpu",)
    runs.update_status(folder, **{
        "state": "queued", "device_key": first, "more_devices": more, "queued_at": at,
        "supervisor": processes.identity(), **values,
    })  # fmt: skip
    return folder


def shown(runs_folder: Path) -> list[str]:
    """The waiting runs in order."""
    return [entry.run_id for entry in queue.waiting(runs_folder)]
