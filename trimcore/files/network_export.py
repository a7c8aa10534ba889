"""Export a network that is at hand, such as that of a training loop of one's own, as a file for other programs."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from trimcore.compute.inputs import repeated
from trimcore.errors import TrimError
from trimcore.files.export import BATCHES, largest_difference, replacing
from trimcore.files.onnx_file import OnnxNetwork, write_onnx
from trimcore.files.program import Args, program_of, write_program

ENDINGS = {".pt2": "pt2", ".onnx": "onnx"}


def export(network: nn.Module, example: Any, out: str | Path) -> float:
    """Write any network, in evaluation mode, and return the largest difference between the file's outputs and the
    network's. The ending of `out` is the format: `.pt2` for a `torch.export` program, `.onnx` for ONNX. Neither needs
    trimcore or the network's code to be loaded.

    `example`: inputs of one example or more, as for `trace`; a tuple is several positional inputs. The file takes any
    batch size. `network` stays as it is.

    Raises TrimError for another ending, a missing package, a failed write, a file that computes something else, and a
    network that has no such form.
    """
    out = Path(out)
    if out.suffix not in ENDINGS:
        raise TrimError(f"unknown ending {out.suffix!r} of {str(out)!r}; expected one of {', '.join(ENDINGS)}")
    whole = copy.deepcopy(network).cpu().eval()
    examples = [_noise(example, batch) for batch in BATCHES]
    with replacing(out) as temporary:
        reloaded = _written(whole, examples[0], temporary)
        return max(largest_difference(whole, reloaded, each, ENDINGS[out.suffix]) for each in examples)


def _written(network: nn.Module, example: Args, path: Path) -> Callable[..., Any]:
    """The file, written and read back."""
    if path.suffix == ".onnx":
        write_onnx(network, example, path)
        return OnnxNetwork(path)
    write_program(program_of(network, example), path)
    return torch.export.load(path).module()


def _noise(example: Any, batch: int) -> Args:
    """Random inputs like those of the example. Integers, such as indices of words, keep their values."""
    generator = torch.Generator().manual_seed(batch)

    def noise(leaf: Any) -> Any:
        random = isinstance(leaf, Tensor) and leaf.is_floating_point()
        return torch.randn(leaf.shape, generator=generator).to(leaf.dtype) if random else leaf

    found = tree_map(noise, repeated(tree_map(lambda leaf: leaf.cpu() if isinstance(leaf, Tensor) else leaf, example),
                                     batch))  # fmt: skip
    return found if isinstance(found, tuple) else (found,)
