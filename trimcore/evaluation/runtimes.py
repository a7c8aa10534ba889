"""Time one network in several runtimes on the CPU, in turns: PyTorch, torch.compile, ONNX Runtime and OpenVINO."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from trimcore.compute.inputs import repeated
from trimcore.compute.modes import in_mode
from trimcore.errors import TrimError, first_line
from trimcore.evaluation.compilation import compiled
from trimcore.files.onnx_file import OnnxNetwork, write_onnx
from trimcore.files.program import Args
from trimcore.timing.turns import medians

PYTORCH = "PyTorch"
TOLERANCE = 1e-3  # largest difference to PyTorch, relative to the largest output


@dataclass(frozen=True)
class RuntimeLatency:
    """Median milliseconds of a forward pass over `batch` examples; None if the runtime cannot run it, for `reason`."""

    runtime: str
    batch: int
    ms: float | None
    reason: str = ""


@dataclass(frozen=True)
class _Runtime:
    """A network in a runtime, called with its positional inputs, or the reason why it cannot run there."""

    run: Callable[..., Any] | None
    reason: str = ""


def compare_runtimes(
    network: nn.Module, example: Any, batches: Sequence[int] = (1, 16), rounds: int = 20, limit_seconds: float = 2.0
) -> list[RuntimeLatency]:
    """Time a network on the CPU in each runtime: a row for every runtime and batch size.

    example: as in `compare_latency`. All runtimes compute in float32, with as many threads as PyTorch has, and must
    return what PyTorch does. Each batch size takes `rounds` turns or about `limit_seconds`, whichever ends first;
    compiling takes up to `compilation.SECONDS` more. The network's mode is restored. Raises TrimError for a batch size
    below 1.
    """
    if wrong := [batch for batch in batches if batch < 1]:
        raise TrimError(f"a batch has 1 example or more, not {wrong[0]}")
    inputs = {batch: _args(repeated(example, batch)) for batch in batches}
    rows = []
    with tempfile.TemporaryDirectory() as folder, in_mode(network, training=False):
        runtimes = _runtimes(network, _args(repeated(example, 2)), list(inputs.values()), Path(folder))
        with torch.inference_mode():
            for batch, args in inputs.items():
                wanted = network(*args)
                usable = {name: _checked(runtime, args, wanted) for name, runtime in runtimes.items()}
                passes = {name: partial(each.run, *args) for name, each in usable.items() if each.run is not None}
                times = dict(zip(passes, medians(list(passes.values()), rounds, limit_seconds), strict=True))
                rows += [RuntimeLatency(name, batch, times.get(name), each.reason) for name, each in usable.items()]
    return rows


def _runtimes(network: nn.Module, example: Args, inputs: list[Args], folder: Path) -> dict[str, _Runtime]:
    """The runtimes by name. example: two examples, for files that take any batch size."""
    path = folder / "network.onnx"

    def from_file(load: Callable[[Path], Callable[..., Any]]) -> Callable[..., Any]:
        if not path.exists():
            write_onnx(network, example, path)
        return load(path)

    return {
        PYTORCH: _Runtime(network),
        "torch.compile": _attempt(lambda: compiled(network, [example, *inputs])),
        "ONNX Runtime": _attempt(lambda: from_file(OnnxNetwork)),
        "OpenVINO": _attempt(lambda: from_file(_openvino)),
    }


def _attempt(load: Callable[[], Callable[..., Any]]) -> _Runtime:
    try:
        return _Runtime(load())
    except TrimError as error:
        return _Runtime(None, str(error))
    except Exception as error:  # noqa: BLE001 (another package may raise anything)
        return _Runtime(None, f"it failed: {first_line(error)}")


def _checked(runtime: _Runtime, inputs: Args, wanted: Any) -> _Runtime:
    """The runtime, unless it fails with these inputs or computes something else than PyTorch."""
    run = runtime.run
    if run is None:
        return runtime

    def load() -> Callable[..., Any]:
        for found, own in zip(_tensors(run(*inputs)), _tensors(wanted), strict=True):
            allowed = TOLERANCE * max(1.0, float(own.abs().max()))
            if found.shape != own.shape or not float((found - own).abs().max()) <= allowed:
                raise TrimError("it computes something else than PyTorch")
        return run

    return _attempt(load)


def _openvino(path: Path) -> Callable[..., Any]:
    try:
        import openvino
    except ImportError:
        raise TrimError("it is not installed: pip install openvino") from None
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", **threads}
    model = openvino.compile_model(str(path), "CPU", settings)
    return lambda *inputs: [torch.from_numpy(each) for each in model([x.numpy() for x in inputs]).values()]


def _args(inputs: Any) -> Args:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _tensors(outputs: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.numel()]
