"""The locks of devices, which the processes of a run share."""

from pathlib import Path


def lock_path(runs_folder: Path, device: str, role: str) -> Path:
    folder = runs_folder / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{device.replace(':', '-')}.{role}.lock"
