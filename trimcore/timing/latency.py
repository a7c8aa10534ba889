"""Measure the latency of a forward pass so that networks can be compared.

Compared networks take turns in one loop: other load on the machine then slows all of them equally, so their ratio stays
fair. Times are medians in float32 and evaluation mode.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from trimcore.compute.inputs import call, repeated
from trimcore.compute.modes import in_mode
from trimcore.errors import TrimError
from trimcore.timing.clock import device_of, synchronise
from trimcore.timing.turns import medians


@dataclass(frozen=True)
class Latency:
    """Median milliseconds per batch. `ratio` is before / after, so it is above 1 if `after` is faster."""

    batch: int
    before_ms: float
    after_ms: float

    @property
    def ratio(self) -> float:
        return self.before_ms / self.after_ms


def compare_latency(
    before: nn.Module,
    after: nn.Module,
    example: Any,
    batches: Iterable[int] = (1, 128),
    rounds: int = 20,
    limit_seconds: float = 2.0,
) -> list[Latency]:
    """Time both networks in turns, on the first example of `example` (N, ...) repeated to each batch size.

    The networks and the example must be on the same device. Each batch size takes `rounds` turns or about
    `limit_seconds`, whichever ends first, but at least one turn. Modes are restored. Raises TrimError for a batch size
    or a number of rounds below 1.
    """
    rows = []
    for batch in batches:
        before_ms, after_ms = _medians([before, after], _repeated(example, batch), rounds, limit_seconds)
        rows.append(Latency(batch, before_ms, after_ms))
    return rows


def latency(model: nn.Module, example: Any, batch: int = 1, rounds: int = 20, limit_seconds: float = 2.0) -> float:
    """Median milliseconds per batch for one network; see `compare_latency`."""
    return _medians([model], _repeated(example, batch), rounds, limit_seconds)[0]


class BaselineTimer:
    """Times a run's networks against its base architecture, which is built on first use and kept.

    Its weights do not affect the latency. If there is not enough memory for it, the ratios are None.
    """

    ONE, MANY = 25, 5  # rounds for one example and for a batch, per iteration: 0.25 s for LeNet-5 on one core

    def __init__(self, build: Callable[[], nn.Module], example: Any):
        self._build, self._example = build, example
        self._base: nn.Module | None = None

    def columns(self, network: nn.Module, batch: int) -> dict[str, float | None]:
        """The latency columns of iterations.csv: for a training batch and for one example."""
        columns: dict[str, float | None] = {}
        for name, size, rounds in (("latency", batch, self.MANY), ("latency_1", 1, self.ONE)):
            row = self._compared(network, size, rounds)
            columns[f"{name}_ms"] = row.after_ms if row else latency(network, self._example, size, rounds)
            columns[f"{name}_ratio"] = row.ratio if row else None
        return columns

    def _compared(self, network: nn.Module, batch: int, rounds: int) -> Latency | None:
        try:
            if self._base is None:
                with torch.random.fork_rng(devices=[]):  # timing must not change what the run computes
                    self._base = self._build()
            return compare_latency(self._base, network, self._example, [batch], rounds)[0]
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            self._base = None
            return None


def _repeated(example: Any, batch: int) -> Any:
    if batch < 1:
        raise TrimError(f"latency needs a batch size of 1 or more, not {batch}")
    return repeated(example, batch)


def _medians(networks: list[nn.Module], x: Any, rounds: int, limit_seconds: float) -> list[float]:
    """Median milliseconds of each network."""
    if rounds < 1:
        raise TrimError(f"latency needs 1 round or more, not {rounds}")
    with ExitStack() as modes, torch.inference_mode():
        for network in networks:
            modes.enter_context(in_mode(network, training=False))
        return medians([partial(_pass, network, x, device_of(x)) for network in networks], rounds, limit_seconds)


def _pass(network: nn.Module, x: Any, device: torch.device) -> None:
    call(network, x)
    synchronise(device)


def _out_of_memory(error: Exception) -> bool:
    """PyTorch has an exception class for this on CUDA, but only messages elsewhere."""
    phrases = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(phrase in str(error) for phrase in phrases)
