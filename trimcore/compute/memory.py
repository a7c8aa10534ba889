"""Memory use of this process in bytes, and out-of-memory errors. Cheap enough to poll four times a second."""

import psutil
import torch

# From CUDA, PyTorch's CPU allocator, the operating system, and oneDNN, which gives no reason.
OUT_OF_MEMORY = ("out of memory", "allocate memory", "could not create a primitive", "could not create a memory")
_ME, _INSTALLED = psutil.Process(), psutil.virtual_memory().total


def in_use(device: str) -> dict[str, int]:
    """Bytes: `used` (resident) and `total`; on a GPU also `device_used` and `device_total`.

    `device` is the name of a resolved device, such as "cuda:0". On CUDA, `device_used` is the peak that tensors have
    allocated, because the peak decides whether a network fits. mps reports only current use.
    """
    return {"used": _ME.memory_info().rss, "total": _INSTALLED, **_of_device(device)}


def ran_out(error: BaseException | None) -> bool:
    """Whether an error means that the GPU or this machine ran out of memory, whichever library raised it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(words in message for words in OUT_OF_MEMORY)


def _of_device(device: str) -> dict[str, int]:
    if device.startswith("cuda") and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        total = torch.cuda.get_device_properties(device).total_memory
        return {"device_used": torch.cuda.max_memory_allocated(device), "device_total": total}
    if device == "mps" and torch.backends.mps.is_available():
        total = torch.mps.recommended_max_memory()
        return {"device_used": torch.mps.driver_allocated_memory(), "device_total": total}
    return {}
