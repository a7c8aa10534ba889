"""One run on several devices: each process has a device of its own and does the same, on its part of every batch.

PyTorch does the work: torchrun starts the processes and ends all of them when one fails, DistributedDataParallel
averages the gradients. Whatever a decision follows from is summed over the processes, so that all take the same one;
the first process alone writes the run folder. In a single process everything here does nothing.
"""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from trimcore.compute import torchrun
from trimcore.compute.device import resolve
from trimcore.errors import TrimError

TIMEOUT = timedelta(minutes=10)  # how long the others wait for a process, as for the first while it saves and times
LEAST = 2  # examples of a batch for each process: BatchNorm has no variance of a single value


# --- who is who ---


def world() -> int:
    """How many processes carry out the run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world() > 1 else 0


def first() -> bool:
    """Whether this is the process that records, and obeys; also where it is the only one."""
    return rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """One of the processes that torchrun has started, until the block ends well; a process of its own without it.

    Counters on the CPU go through gloo, on CUDA through NCCL.
    """
    if not torchrun.started() or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    own = int(os.environ["LOCAL_RANK"])
    if own < torch.cuda.device_count():
        torch.cuda.set_device(own)
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    yield
    dist.destroy_process_group()  # not after a failure: it could wait for processes that are gone


def own_device(name: str) -> torch.device:
    """The device of this process: of several, each has the CUDA device of its number."""
    device = resolve(name)
    if world() == 1 or device.type != "cuda":
        return device
    return resolve(f"cuda:{os.environ['LOCAL_RANK']}")


# --- parts, and sums over them ---


def parts(order: Tensor, batch_size: int, part: int, of: int) -> list[Tensor]:
    """Part number `part` of each batch of `order` (N,): every example is in one part of one batch.

    `batch_size` is that of all parts together; parts of a batch differ by one example at most. With several parts, a
    rest of fewer than LEAST examples for each joins the batch before it, so that no part is empty.
    """
    batches = list(torch.split(order, batch_size))
    if of == 1:
        return batches
    if len(batches) > 1 and len(batches[-1]) < LEAST * of:
        batches[-2:] = [torch.cat(batches[-2:])]
    return [batch[part::of] for batch in batches]


def sum_(*tensors: Tensor) -> None:
    """Add up each tensor over the processes, in place: integers exactly, and all processes have the same result."""
    if world() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def totals(numbers: Sequence[int]) -> list[int]:
    """Each number added up over the processes."""
    if world() == 1:
        return list(numbers)
    counted = torch.tensor(numbers, dtype=torch.int64)
    sum_(counted)
    return counted.tolist()


def of_first(number: int) -> int:
    """What the number is in the first process."""
    if world() == 1:
        return number
    told = torch.tensor(number)
    dist.broadcast(told, 0)
    return int(told)


def of_all(value: Any) -> list[Any]:
    """What a small value is in each process."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


# --- training together ---


@contextmanager
def together(network: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """The network to train with, whose gradients are averaged over the processes as they arise.

    On CUDA BatchNorm takes its statistics over all processes inside the block. PyTorch can do so there only: on the
    CPU each process normalises by its own part of the batch.
    """
    if world() == 1:
        yield network
        return
    places = [(owner, name) for owner in network.modules() for name, m in owner._modules.items() if _normalises(m)]
    own = [owner.get_submodule(name) for owner, name in places]
    try:
        if device.type == "cuda":
            convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
            shared = {module: convert(module) for module in own}
            for (owner, name), module in zip(places, own, strict=True):
                owner._modules[name] = shared[module]  # with the tensors of the module that it stands for
        devices = [device] if device.type == "cuda" else None
        yield DistributedDataParallel(network, device_ids=devices)
    finally:
        for (owner, name), module in zip(places, own, strict=True):
            owner._modules[name] = module.train(owner.get_submodule(name).training)


def normalises_apart(network: nn.Module, device: torch.device) -> bool:
    """Whether each process has BatchNorm statistics of its own while it trains."""
    return world() > 1 and device.type != "cuda" and any(_normalises(module) for module in network.modules())


def _normalises(module: nn.Module | None) -> bool:
    return isinstance(module, _BatchNorm)


def weighted(loss: Tensor, examples: int) -> Tensor:
    """A mean over this process's `examples`, times the factor that makes the average of the processes' gradients the
    gradient of the mean over all examples: their parts need not be of one size."""
    if world() == 1:
        return loss
    every = torch.full((), float(examples), device=loss.device)  # on the device, which is not waited for
    dist.all_reduce(every)
    return loss * (examples * world() / every)


def share_buffers(network: nn.Module) -> None:
    """Give all processes the first one's buffers, the running statistics of BatchNorm above all."""
    if world() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)


def check_same(network: nn.Module) -> None:
    """Raises TrimError, in all processes, when their weights are not the same to the bit."""
    if world() > 1:
        sums = of_all(_checksum(network.state_dict().values()))
        if len(set(sums)) > 1:
            raise TrimError(f"the weights of the {world()} processes are no longer the same; the run cannot go on")


def _checksum(tensors: Iterable[Tensor]) -> int:
    found = 0
    for tensor in tensors:
        found = zlib.crc32(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data, found)
    return found


def is_lost(error: Exception) -> bool:
    """Whether an error only says that another process is gone."""
    words = ("gloo", "Connection closed by peer", "Connection reset by peer")
    return isinstance(error, dist.DistError) or (world() > 1 and any(word in str(error) for word in words))
