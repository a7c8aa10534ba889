"""Export a trimmed network: weights with widths, a `torch.export` program, or ONNX.

Before a file gets its final name, it is read back and its outputs are compared with the network's at two batch sizes.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from trimcore import models
from trimcore.compute.inputs import count
from trimcore.errors import TrimError, first_line
from trimcore.files import checkpoint
from trimcore.files.checkpoint import Checkpoint
from trimcore.files.weights import write_sparse

Args = tuple[Any, ...]
TOLERANCE = 1e-4  # largest allowed difference, relative to the largest output
FORMATS = {  # with their file extensions
    "state_dict": ".pt", "safetensors": ".safetensors", "sparse": ".sparse.safetensors", "pt2": ".pt2", "onnx": ".onnx",
}  # fmt: skip
BATCHES = (2, 5)  # batch sizes; programs are traced with the first


def export(made: Checkpoint, format: str, out: Path) -> float:
    """Write `made` to `out` and return the largest difference between the file's outputs and the network's.

    state_dict: `{"state", "widths", ...}`, for `torch.load(weights_only=True)`. safetensors: the same, with everything
    except the weights as JSON in the metadata. sparse: safetensors with mostly-zero tensors stored as values and gaps
    (see `files.sparse`). pt2: a `torch.export` program. onnx: an ONNX model. pt2 and onnx accept any batch size, or one
    example at a time if the network returns a list with an entry per example, as detectors do.
    Raises TrimError for an unknown format, a missing package, a failed write, or a file that computes something else.
    """
    if format not in FORMATS:
        raise TrimError(f"unknown format {format!r}; expected one of {', '.join(FORMATS)}")
    network = made.build().eval()
    examples = [_noise(made, batch) for batch in _batches(made, network)]
    temporary = out.with_name(f".{out.stem}.{os.getpid()}{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        writers = {
            "state_dict": _state_dict, "safetensors": _safetensors, "sparse": _sparse, "pt2": _program, "onnx": _onnx,
        }  # fmt: skip
        reloaded = writers[format](made, network, examples[0], temporary)
        difference = max(_difference(network, reloaded, example, format) for example in examples)
        os.replace(temporary, out)
    except OSError as error:
        raise TrimError(f"cannot write {str(out)!r}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):  # the write may have failed
            temporary.unlink()
    return difference


def describe_difference(difference: float) -> str:
    """The result of `export` as a readable phrase."""
    if difference == 0:
        return "computes exactly what the network in memory does"
    return f"differs from the network in memory by at most {difference:.0e}"


def _noise(made: Checkpoint, batch: int) -> Args:
    """Random inputs in the shape of the network's. Integers, such as indices of words, keep their values."""
    generator = torch.Generator().manual_seed(batch)

    def noise(like: Any) -> Any:
        random = isinstance(like, Tensor) and like.is_floating_point()
        return torch.randn(like.shape, generator=generator) if random else like

    found = tree_map(noise, models.example_input(made.arguments, batch, made.model))
    return found if isinstance(found, tuple) else (found,)


def _difference(network: nn.Module, reloaded: Callable[..., Any], example: Args, format: str) -> float:
    """The largest difference between all outputs. Raises TrimError if it exceeds rounding error or is NaN."""
    with torch.no_grad():
        wanted, found = _tensors(network(*example)), _tensors(reloaded(*example))
    if (shapes := [tuple(each.shape) for each in found]) != (needed := [tuple(each.shape) for each in wanted]):
        found_text, needed_text = (", ".join(map(str, each)) for each in (shapes, needed))
        raise TrimError(f"the {format} file returns {found_text}, not {needed_text}; nothing was written")
    differences = [float((a.double() - b.double()).abs().max()) for a, b in zip(found, wanted, strict=True)]
    for difference, own in zip(differences, wanted, strict=True):
        if not difference <= TOLERANCE * max(1.0, float(own.abs().max())):
            text = f"the {format} file computes something else (difference {difference:.2e}); nothing was written"
            raise TrimError(text)
    return max(differences)


def _tensors(outputs: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.numel()]


def _state_dict(made: Checkpoint, network: nn.Module, example: Args, path: Path) -> Callable[..., Any]:
    checkpoint.save(made, path)
    return checkpoint.load(path).build().eval()


def _safetensors(made: Checkpoint, network: nn.Module, example: Args, path: Path) -> Callable[..., Any]:
    checkpoint.save_safetensors(made, path)
    return checkpoint.load(path).build().eval()


def _sparse(made: Checkpoint, network: nn.Module, example: Args, path: Path) -> Callable[..., Any]:
    write_sparse({"format": checkpoint.FORMAT, **made.entries}, made.state, path)
    return checkpoint.load(path).build().eval()


def _program(made: Checkpoint, network: nn.Module, example: Args, path: Path) -> Callable[..., Any]:
    try:
        program = torch.export.export(network, example, dynamic_shapes=_any_batch(example))
    except RuntimeError as error:
        raise TrimError(f"cannot export this network as a torch.export program: {first_line(error)}") from None
    with open(path, "wb") as file:  # with a path, torch.export.save would raise RuntimeError instead of OSError
        torch.export.save(program, file)
    return torch.export.load(path).module()


def _onnx(made: Checkpoint, network: nn.Module, example: Args, path: Path) -> Callable[..., Any]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        raise TrimError(f"ONNX needs the package {error.name}: pip install onnxscript onnxruntime") from None
    names = ["images"] if len(example) == 1 else [f"input_{number}" for number in range(len(example))]
    try:
        torch.onnx.export(
            network, example, str(path), input_names=names, output_names=["scores"], external_data=False,
            dynamic_shapes=_any_batch(example), dynamo=True, verbose=False,
        )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        raise TrimError(f"cannot export this network as ONNX: {first_line(error)}") from None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(*inputs: Tensor) -> list[Tensor]:
        feeds = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
        try:
            return [torch.from_numpy(output) for output in session.run(None, feeds)]
        except Exception as error:  # the runtime's errors have no class of their own in common
            raise TrimError(f"ONNX Runtime cannot run the file: {first_line(error)}") from error

    return run


def _batches(made: Checkpoint, network: nn.Module) -> tuple[int, ...]:
    """The batch sizes to compare. A program cannot return a list whose length is the batch size."""
    with torch.no_grad():
        return (1,) if isinstance(network(*_noise(made, 1)), list) else BATCHES


def _any_batch(example: Args) -> tuple[Any, ...] | None:
    """The same free batch size for all inputs; None for a single example, whose batch size is fixed."""
    if count(example) == 1:
        return None
    batch = torch.export.Dim("batch")
    return tuple({0: batch} for _ in example)
