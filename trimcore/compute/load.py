"""How busy the machine and the device are. Cheap enough to poll four times a second."""

import psutil
import torch

psutil.cpu_percent()  # each reading is relative to the one before; without this, the first would be 0


def now(device: str) -> dict[str, float]:
    """Shares 0..1: `machine`, of all processor cores since the last call; on CUDA also `device`, the share of the last
    second in which a kernel ran, where the driver's library is installed. `device` is such as "cuda:0"."""
    return {"machine": min(1.0, psutil.cpu_percent() / 100), **_of_device(device)}


def _of_device(device: str) -> dict[str, float]:
    if not (device.startswith("cuda") and torch.cuda.is_initialized()):  # type: ignore[no-untyped-call]
        return {}
    try:
        return {"device": torch.cuda.utilization(device) / 100}
    except (ImportError, RuntimeError):  # it needs the package pynvml, and a driver that answers
        return {}
