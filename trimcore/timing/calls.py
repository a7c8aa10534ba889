"""Time every call of a torch function while a network runs its own forward function."""

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from trimcore.compute import memory
from trimcore.compute.allocator import keep_freed_memory
from trimcore.compute.inputs import call, count
from trimcore.compute.modes import in_mode
from trimcore.errors import TrimError
from trimcore.graph.channel_graph import WITHOUT_NEURONS, ChannelGraph, Part
from trimcore.timing.clock import Stamp, device_of, milliseconds, stamp, synchronise

WARM_UP = 2  # passes that are not counted


@dataclass(frozen=True)
class Call:
    """One call: the layer whose weights it reads ("" if none), the function, its arguments, and milliseconds. Tensors
    among the arguments are on the meta device, except the layer's own."""

    layer: str
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ms: float


@dataclass(frozen=True)
class Watched:
    """Medians over the rounds: each call of a pass in order, the time of a pass outside of them, and the time of a pass
    that is not watched."""

    calls: list[Call]
    outside_ms: float
    total_ms: float


def watch(graph: ChannelGraph, x: Any, rounds: int, limit_seconds: float) -> Watched:
    """Run the network on `x` in evaluation mode, watched and not, in turns: `rounds` times or about `limit_seconds`,
    whichever ends first. Calls of a pass that differs from the first one are not counted. Raises TrimError if there is
    not enough memory."""
    keep_freed_memory()
    try:
        return _watch(graph, x, rounds, limit_seconds)
    except Exception as error:
        if memory.ran_out(error):
            raise TrimError(f"there is not enough memory to time {count(x)} examples at once") from None
        raise


def _watch(graph: ChannelGraph, x: Any, rounds: int, limit_seconds: float) -> Watched:
    device, network = device_of(x), graph.model
    passes: list[tuple[list[float], float]] = []
    totals: list[float] = []
    with ExitStack() as open_contexts, torch.inference_mode():
        open_contexts.enter_context(in_mode(network, training=False))
        owners = _Owners(graph)
        open_contexts.enter_context(owners.computing())
        call(network, x)  # a network may do more on its first call
        start, first = time.perf_counter(), _Recorder(device, owners)
        while not passes or (len(totals) < WARM_UP + rounds and time.perf_counter() - start < limit_seconds):
            recorder = _Recorder(device) if passes else first
            begin = stamp(device)
            with recorder:
                call(network, x)
            between = stamp(device)
            call(network, x)
            end = stamp(device)
            synchronise(device)
            totals.append(milliseconds(between, end))
            times = [milliseconds(*stamps) for stamps in recorder.stamps]
            if len(times) == len(first.stamps):
                passes.append((times, milliseconds(begin, between) - sum(times) - len(times) * _overhead_ms(device)))
    counted = passes[WARM_UP:] or passes[-1:]
    medians = [statistics.median(times) for times in zip(*(times for times, _ in counted), strict=True)]
    calls = [Call(*seen, ms) for seen, ms in zip(first.calls, medians, strict=True)]
    outside = max(0.0, statistics.median(rest for _, rest in counted))
    return Watched(calls, outside, statistics.median(totals[WARM_UP:] or totals[-1:]))


class _Owners:
    """Which layer a tensor belongs to. A weight that is computed before each use belongs to the layer that runs."""

    def __init__(self, graph: ChannelGraph):
        self.of: dict[int, str] = {}
        self.running: list[str] = []
        for part in graph.fine.parts.values():
            if part.name in graph.layers:
                self.of |= dict.fromkeys(map(id, _tensors(part)), part.name)
        modules = dict(graph.model.named_modules())
        self._computed = {name: modules[name] for name in graph.computed if name in modules and name in graph.layers}

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        for value in (*args, *kwargs.values()):
            for tensor in value if isinstance(value, list | tuple) else (value,):
                if id(tensor) in self.of:
                    return self.of[id(tensor)]
        return self.running[-1] if self.running else ""

    def described(self, value: Any) -> Any:
        """An argument of a call: a tensor of the layers stays, another is replaced by one on the meta device."""
        if not isinstance(value, Tensor) or id(value) in self.of:
            return value
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")

    @contextmanager
    def computing(self) -> Iterator[None]:
        handles = []
        for name, module in self._computed.items():
            handles += [
                module.register_forward_pre_hook(lambda *_, name=name: self.running.append(name)),
                module.register_forward_hook(lambda *_: self._leave(), always_call=True),
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _leave(self) -> None:
        self.running.pop()


def _tensors(part: Part) -> list[Any]:
    if part.kind in WITHOUT_NEURONS:  # attention, for example: all of it is one part
        return list(part.module.parameters())
    own = list(part.module.parameters(recurse=False)) if isinstance(part.module, nn.Module) else []
    return [*own, *(tensor for _, tensor, _ in part.tensors())]


class _Recorder(TorchFunctionMode):
    """Stamps the time before and after each call. Calls inside of a call belong to it. With `owners`, it also notes
    the calls. Activations are not kept: a pass whose memory is not reused takes longer."""

    def __init__(self, device: torch.device, owners: _Owners | None = None):
        super().__init__()
        self.calls: list[tuple[str, Any, tuple[Any, ...], dict[str, Any]]] = []
        self.stamps: list[tuple[Stamp, Stamp]] = []
        self._device, self._owners = device, owners

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        begin = stamp(self._device)
        result = func(*args, **kwargs)
        self.stamps.append((begin, stamp(self._device)))
        if self._owners is not None:
            described = tree_map(self._owners.described, (args, kwargs))
            self.calls.append((self._owners(args, kwargs), func, *described))
        return result


@cache
def _overhead_ms(device: torch.device) -> float:
    """What watching adds to a pass per call, outside of the call. GPUs wait for it only where they are idle anyway."""
    if device.type == "cuda":
        return 0.0
    x, calls = torch.zeros(1, device=device), 500
    for _ in range(2):  # the first is slower
        recorder = _Recorder(device)
        begin = stamp(device)
        with recorder:
            for _ in range(calls):
                torch.neg(x)
        whole = milliseconds(begin, stamp(device))
    return (whole - sum(milliseconds(*stamps) for stamps in recorder.stamps)) / calls
