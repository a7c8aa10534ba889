"""What the processes of a run share: the device locks and the environment for training."""

from pathlib import Path

ENVIRONMENT = {
    # Threads that spin while waiting starve as soon as another program (such as a browser) needs a core. LeNet-5 on two
    # cores beside two busy processes: 300 images/s spinning, 8,300 sleeping. On an idle machine, sleeping costs 15 to
    # 20 %.
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONUNBUFFERED": "1",
}


def lock_path(runs_folder: Path, device: str, role: str) -> Path:
    folder = runs_folder / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{device.replace(':', '-')}.{role}.lock"
