"""Export a trimmed network: weights with widths, a `torch.export` program, ONNX, or ONNX with 8-bit integers.

Before a file gets its final name, it is read back and its outputs are compared with the network's at two batch sizes.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from trimcore import models
from trimcore.errors import TrimError
from trimcore.files import checkpoint
from trimcore.files.checkpoint import Checkpoint
from trimcore.files.onnx_file import OnnxNetwork, need, write_onnx
from trimcore.files.program import Args, program_of, write_program
from trimcore.files.quantization import PACKAGES, check_classifier, quantize
from trimcore.files.weights import write_sparse

TOLERANCE = 1e-4  # largest allowed difference, relative to the largest output
INT8 = "onnx-int8"
FORMATS = {  # with their file extensions
    "state_dict": ".pt", "safetensors": ".safetensors", "sparse": ".sparse.safetensors", "pt2": ".pt2", "onnx": ".onnx",
    INT8: ".int8.onnx",
}  # fmt: skip
BATCHES = (2, 5)  # batch sizes; programs are traced with the first


def export(made: Checkpoint, format: str, out: Path, images: Iterable[Tensor] = ()) -> float:
    """Write `made` to `out` and return the largest difference between the file's outputs and the network's.

    state_dict: `{"state", "widths", ...}`, for `torch.load(weights_only=True)`. safetensors: the same, with everything
    except the weights as JSON in the metadata. sparse: safetensors with mostly-zero tensors stored as values and gaps
    (see `files.sparse`). pt2: a `torch.export` program. onnx: an ONNX model. pt2 and onnx accept any batch size, or one
    example at a time if the network returns a list with an entry per example, as detectors do. onnx-int8: an ONNX model
    whose ranges are those of `images`, batches (B, C, H, W) float32 that only this format needs (see
    `files.quantization`). It computes approximately the same, so only its shapes and finite outputs are checked.
    Raises TrimError for an unknown format, a missing package, a failed write, a file that computes something else, and
    a network that has no such form.
    """
    if format not in FORMATS:
        raise TrimError(f"unknown format {format!r}; expected one of {', '.join(FORMATS)}")
    network = made.build().eval()
    examples = [noise(made, batch) for batch in batches_of(made, network)]
    writers: dict[str, Callable[..., Callable[..., Any]]] = {
        "state_dict": _state_dict, "safetensors": _safetensors, "sparse": _sparse, "pt2": _program, "onnx": _onnx,
        INT8: partial(_onnx_int8, images=images),
    }  # fmt: skip
    with replacing(out) as temporary:
        reloaded = writers[format](made, network, examples[0], temporary)
        return max(largest_difference(network, reloaded, example, format) for example in examples)


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A name beside `out` for a file that becomes `out` if the block succeeds, and is removed otherwise.
    Raises TrimError if it cannot be written."""
    temporary = out.with_name(f".{out.stem}.{os.getpid()}{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, out)
    except OSError as error:
        raise TrimError(f"cannot write {str(out)!r}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):  # the write may have failed
            temporary.unlink()


def describe_difference(difference: float) -> str:
    """The result of `export` as a readable phrase."""
    if difference == 0:
        return "computes exactly what the network in memory does"
    return f"differs from the network in memory by at most {difference:.0e}"


def noise(made: Checkpoint, batch: int) -> Args:
    """Random inputs in the shape of the network's. Integers, such as indices of words, keep their values."""
    generator = torch.Generator().manual_seed(batch)

    def noise(like: Any) -> Any:
        random = isinstance(like, Tensor) and like.is_floating_point()
        return torch.randn(like.shape, generator=generator) if random else like

    found = tree_map(noise, models.example_input(made.arguments, batch, made.model))
    return found if isinstance(found, tuple) else (found,)


def largest_difference(network: nn.Module, reloaded: Callable[..., Any], example: Args, format: str) -> float:
    """The largest difference between all outputs. Raises TrimError if it exceeds the rounding error of the format, or
    is NaN."""
    with torch.no_grad():
        wanted, found = _tensors(network(*example)), _tensors(reloaded(*example))
    if (shapes := [tuple(each.shape) for each in found]) != (needed := [tuple(each.shape) for each in wanted]):
        found_text, needed_text = (", ".join(map(str, each)) for each in (shapes, needed))
        raise TrimError(f"the {format} file returns {found_text}, not {needed_text}; nothing was written")
    differences = [float((a.double() - b.double()).abs().max()) for a, b in zip(found, wanted, strict=True)]
    tolerance = float("inf") if format == INT8 else TOLERANCE
    for difference, own in zip(differences, wanted, strict=True):
        if not difference < float("inf") or difference > tolerance * max(1.0, float(own.abs().max())):
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
    write_program(program_of(network, example), path)
    return torch.export.load(path).module()


def _onnx(made: Checkpoint, network: nn.Module, example: Args, path: Path) -> Callable[..., Any]:
    write_onnx(network, example, path)
    return OnnxNetwork(path)


def _onnx_int8(
    made: Checkpoint, network: nn.Module, example: Args, path: Path, images: Iterable[Tensor]
) -> Callable[..., Any]:
    need(*PACKAGES)
    with torch.no_grad():
        check_classifier(example, network(*example))
    whole = path.with_name(f".float{path.name}")
    try:
        write_onnx(network, example, whole)
        quantize(whole, path, images)
    finally:
        with suppress(OSError):
            whole.unlink()
    return OnnxNetwork(path)


def batches_of(made: Checkpoint, network: nn.Module) -> tuple[int, ...]:
    """The batch sizes to compare. A program cannot return a list whose length is the batch size."""
    with torch.no_grad():
        return (1,) if isinstance(network(*noise(made, 1)), list) else BATCHES
