"""Stamps of time on any device. GPUs work asynchronously, so a stamp on CUDA is an event in their queue."""

import time
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

Stamp = Any  # seconds as a float, or an event on CUDA


def stamp(device: torch.device) -> Stamp:
    """The present moment, after everything that was called before."""
    if device.type == "cuda":
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(device))
        return event
    synchronise(device)
    return time.perf_counter()


def milliseconds(begin: Stamp, end: Stamp) -> float:
    """The time between two stamps. On CUDA, `synchronise` must have been called after the second."""
    elapsed: float = (end - begin) * 1000 if isinstance(begin, float) else begin.elapsed_time(end)
    return elapsed


def synchronise(device: torch.device) -> None:
    """Wait for everything that was called before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_of(x: Any) -> torch.device:
    """The device of the first tensor among the inputs."""
    return next((leaf.device for leaf in tree_leaves(x) if isinstance(leaf, Tensor)), torch.device("cpu"))
