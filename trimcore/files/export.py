"""Export a trimmed network: weights with widths, a `torch.export` program, or ONNX.

Before a file gets its final name, it is read back and its outputs are compared with the network's at two batch sizes.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from trimcore import models
from trimcore.errors import TrimError, first_line
from trimcore.files import checkpoint
from trimcore.files.checkpoint import Checkpoint
from trimcore.files.weights import write_sparse

TOLERANCE = 1e-4  # largest allowed difference, relative to the largest output
FORMATS = {  # with their file extensions
    "state_dict": ".pt", "safetensors": ".safetensors", "sparse": ".sparse.safetensors", "pt2": ".pt2", "onnx": ".onnx",
}  # fmt: skip
BATCHES = (2, 5)  # batch sizes; programs are traced with the first


def export(made: Checkpoint, format: str, out: Path) -> float:
    """Write `made` to `out` and return the largest difference between the file's outputs and the network's.

    state_dict: `{"state", "widths", ...}`, for `torch.load(weights_only=True)`. safetensors: the same, with everything
    except the weights as JSON in the metadata. sparse: safetensors with mostly-zero tensors stored as values and gaps
    (see `files.sparse`). pt2: a `torch.export` program. onnx: an ONNX model. pt2 and onnx accept any batch size.
    Raises TrimError for an unknown format, a missing package, a failed write, or a file that computes something else.
    """
    if format not in FORMATS:
        raise TrimError(f"unknown format {format!r}; expected one of {', '.join(FORMATS)}")
    network = made.build().eval()
    examples = [_noise(made.arguments, batch) for batch in BATCHES]
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


def _noise(arguments: dict[str, int], batch: int) -> Tensor:
    shape = models.example_input(arguments, batch).shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(batch))


def _difference(network: nn.Module, reloaded: Callable[[Tensor], Tensor], example: Tensor, format: str) -> float:
    """The largest difference between both outputs. Raises TrimError if it exceeds rounding error or is NaN."""
    with torch.no_grad():
        wanted, found = network(example), reloaded(example)
    if found.shape != wanted.shape:
        shapes = f"{tuple(found.shape)}, not {tuple(wanted.shape)}"
        raise TrimError(f"the {format} file returns {shapes}; nothing was written")
    difference = float((found - wanted).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise TrimError(f"the {format} file computes something else (difference {difference:.2e}); nothing was written")
    return difference


def _state_dict(made: Checkpoint, network: nn.Module, example: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    checkpoint.save(made, path)
    return checkpoint.load(path).build().eval()


def _safetensors(made: Checkpoint, network: nn.Module, example: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    checkpoint.save_safetensors(made, path)
    return checkpoint.load(path).build().eval()


def _sparse(made: Checkpoint, network: nn.Module, example: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    write_sparse({"format": checkpoint.FORMAT, **made.entries}, made.state, path)
    return checkpoint.load(path).build().eval()


def _program(made: Checkpoint, network: nn.Module, example: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    try:
        program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except RuntimeError as error:
        raise TrimError(f"cannot export this network as a torch.export program: {first_line(error)}") from None
    with open(path, "wb") as file:  # with a path, torch.export.save would raise RuntimeError instead of OSError
        torch.export.save(program, file)
    return torch.export.load(path).module()


def _onnx(made: Checkpoint, network: nn.Module, example: Tensor, path: Path) -> Callable[[Tensor], Tensor]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        raise TrimError(f"ONNX needs the package {error.name}: pip install onnxscript onnxruntime") from None
    try:
        torch.onnx.export(
            network, (example,), str(path), input_names=["images"], output_names=["scores"], external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},), dynamo=True, verbose=False,
        )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        raise TrimError(f"cannot export this network as ONNX: {first_line(error)}") from None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
