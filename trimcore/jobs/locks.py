"""What the processes of a run agree on: the locks of devices, and the environment that training wants."""

from pathlib import Path

ENVIRONMENT = {
    # Threads that wait by spinning starve as soon as anything else (a browser, say) wants a core. LeNet-5 on two cores
    # beside two busy processes: 300 images/s spinning, 8,300 sleeping. On a quieter machine sleeping costs 15 to 20 %.
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONUNBUFFERED": "1",
}


def lock_path(runs_folder: Path, device: str, role: str) -> Path:
    folder = runs_folder / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{device.replace(':', '-')}.{role}.lock"
