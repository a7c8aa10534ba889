"""Data-parallel runs: each process has its own device and works on its part of every batch.

torchrun starts the processes and stops all of them when one fails. DistributedDataParallel averages the gradients.
Every value that a decision depends on is summed over the processes, so all processes make the same decision. Only the
first process writes the run folder. In a single process, everything here is a no-op.
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

TIMEOUT = timedelta(minutes=10)  # for collectives: the others wait while the first process saves and times
MIN_EXAMPLES = 2  # of a batch, for each process: BatchNorm needs more than one value for a variance


# --- processes ---


def world() -> int:
    """The number of processes in the run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world() > 1 else 0


def is_first() -> bool:
    """Whether this is the first process, which records events and reads requests. True in a single process."""
    return rank() == 0


@contextmanager
def process_group() -> Iterator[None]:
    """Join torchrun's process group for the block; do nothing in a single process.

    CPU tensors are reduced through gloo, CUDA tensors through NCCL.
    """
    if not torchrun.started() or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    if local_rank < torch.cuda.device_count():
        torch.cuda.set_device(local_rank)
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    yield
    dist.destroy_process_group()  # not after a failure: it could wait for dead processes


def local_device(name: str) -> torch.device:
    """The device of this process. With several processes on CUDA, each uses the device of its local rank."""
    device = resolve(name)
    if world() == 1 or device.type != "cuda":
        return device
    return resolve(f"cuda:{os.environ['LOCAL_RANK']}")


# --- parts of a batch, and sums over processes ---


def parts(order: Tensor, batch_size: int, part: int, of: int) -> list[Tensor]:
    """Split `order` (N,) into batches and return part `part` of `of` of each. Every example is in exactly one part.

    `batch_size` counts all parts together. Parts of a batch differ by at most one example. With several parts, a
    remainder of fewer than MIN_EXAMPLES examples per part joins the previous batch, so no part is empty.
    """
    batches = list(torch.split(order, batch_size))
    if of == 1:
        return batches
    if len(batches) > 1 and len(batches[-1]) < MIN_EXAMPLES * of:
        batches[-2:] = [torch.cat(batches[-2:])]
    return [batch[part::of] for batch in batches]


def sum_(*tensors: Tensor) -> None:
    """Sum each tensor over the processes in place. Integer sums are exact, and all processes get the same result."""
    if world() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def totals(numbers: Sequence[int]) -> list[int]:
    """Each number summed over the processes."""
    if world() == 1:
        return list(numbers)
    counts = torch.tensor(numbers, dtype=torch.int64)
    sum_(counts)
    return counts.tolist()


def broadcast(number: int) -> int:
    """The first process's number, in every process."""
    if world() == 1:
        return number
    received = torch.tensor(number)
    dist.broadcast(received, 0)
    return int(received)


def gather(value: Any) -> list[Any]:
    """Every process's value, by rank. The value must be small."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


# --- data-parallel training ---


@contextmanager
def data_parallel(network: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """The network wrapped for training, with gradients averaged over the processes during the backward pass.

    On CUDA, BatchNorm computes its statistics over all processes inside the block. PyTorch supports this only on CUDA:
    on the CPU, each process normalises by its own part of the batch.
    """
    if world() == 1:
        yield network
        return
    places = [(owner, name) for owner in network.modules() for name, m in owner._modules.items() if _is_batchnorm(m)]
    originals = [owner.get_submodule(name) for owner, name in places]
    try:
        if device.type == "cuda":
            convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
            synced = {module: convert(module) for module in originals}
            for (owner, name), module in zip(places, originals, strict=True):
                owner._modules[name] = synced[module]  # shares the original's tensors
        devices = [device] if device.type == "cuda" else None
        yield DistributedDataParallel(network, device_ids=devices)
    finally:
        for (owner, name), module in zip(places, originals, strict=True):
            owner._modules[name] = module.train(owner.get_submodule(name).training)


def has_local_batchnorm(network: nn.Module, device: torch.device) -> bool:
    """Whether each process trains with its own BatchNorm statistics."""
    return world() > 1 and device.type != "cuda" and any(_is_batchnorm(module) for module in network.modules())


def _is_batchnorm(module: nn.Module | None) -> bool:
    return isinstance(module, _BatchNorm)


def weighted(loss: Tensor, examples: int) -> Tensor:
    """Scale a mean loss over this process's `examples` for parts of different sizes.

    The average of the processes' gradients is then the gradient of the mean over all examples.
    """
    if world() == 1:
        return loss
    total = torch.full((), float(examples), device=loss.device)  # on the device, so nothing waits for it
    dist.all_reduce(total)
    return loss * (examples * world() / total)


def broadcast_buffers(network: nn.Module) -> None:
    """Copy the first process's buffers, above all BatchNorm's running statistics, to all processes."""
    if world() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)


def check_in_sync(network: nn.Module) -> None:
    """Raise TrimError in all processes unless their weights are bit-identical."""
    if world() > 1:
        sums = gather(_checksum(network.state_dict().values()))
        if len(set(sums)) > 1:
            raise TrimError(f"the weights of the {world()} processes have diverged; the run cannot continue")


def _checksum(tensors: Iterable[Tensor]) -> int:
    found = 0
    for tensor in tensors:
        found = zlib.crc32(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data, found)
    return found


def is_peer_failure(error: Exception) -> bool:
    """Whether an error only means that another process is gone."""
    words = ("gloo", "Connection closed by peer", "Connection reset by peer")
    return isinstance(error, dist.DistError) or (world() > 1 and any(word in str(error) for word in words))
