"""How much memory this process takes, of how much there is, and whether there was too little. In bytes; cheap enough to
be asked four times a second."""

import psutil
import torch

# Of CUDA, of PyTorch's own allocator, of the system, and of oneDNN, which tells no reason.
WITHOUT_MEMORY = ("out of memory", "allocate memory", "could not create a primitive", "could not create a memory")
_ME, _INSTALLED = psutil.Process(), psutil.virtual_memory().total


def in_use(device: str) -> dict[str, int]:
    """`used` (resident) of `total`; on a GPU also `device_used` of `device_total`.

    `device` is a resolved device's name, such as "cuda:0". On CUDA `device_used` is the most that tensors have taken
    so far, since that decides whether a network fits; mps knows only what is taken now.
    """
    return {"used": _ME.memory_info().rss, "total": _INSTALLED, **_of_device(device)}


def ran_out(error: BaseException | None) -> bool:
    """Whether an error says that there was no memory left: of a GPU, or of this machine, in the words of any of the
    libraries that ask for some."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(words in said for words in WITHOUT_MEMORY)


def _of_device(device: str) -> dict[str, int]:
    if device.startswith("cuda") and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        total = torch.cuda.get_device_properties(device).total_memory
        return {"device_used": torch.cuda.max_memory_allocated(device), "device_total": total}
    if device == "mps" and torch.backends.mps.is_available():
        total = torch.mps.recommended_max_memory()
        return {"device_used": torch.mps.driver_allocated_memory(), "device_total": total}
    return {}
