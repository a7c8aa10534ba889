"""Tensors with many zeros as fewer bytes (Han et al. 2016, Deep Compression, arXiv 1510.00149, section 2).

In flattened order only the non-zero values are stored, each with its gap, the number of zeros before it, as one byte. A
longer run of zeros is bridged by stored zeros: one with gap 255 stands for 256 zeros. The last position is always
stored, so that the entries cover the whole tensor: the gaps plus one add up to its size.

In a file, tensor NAME becomes the tensors NAME.values and NAME.gaps, and the metadata `sparse_shapes` have its shape.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from trimcore.errors import CheckpointError

REACH = 256  # positions that one entry covers at most
LARGEST = 2**30  # weights that the sparse tensors of one file may have together; a small file must not fill the memory
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SHAPES, VALUES, GAPS = "sparse_shapes", ".values", ".gaps"


def encode(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Values (entries,) of the tensor's dtype and gaps (entries,) uint8. -0.0 counts as zero, NaN does not.

    >>> encode(torch.tensor([[0.0, 0.0, 5.0], [7.0, 0.0, 0.0]]))
    (tensor([5., 7., 0.]), tensor([2, 0, 1], dtype=torch.uint8))
    """
    flat = tensor.detach().cpu().reshape(-1)
    if not len(flat):
        return flat, torch.empty(0, dtype=torch.uint8)
    at = flat.nonzero().view(-1)
    if not len(at) or at[-1] != len(flat) - 1:
        at = torch.cat([at, torch.tensor([len(flat) - 1])])
    zeros = at.diff(prepend=torch.tensor([-1])) - 1
    entry = (zeros // REACH + 1).cumsum(0) - 1  # where each value comes, behind the stored zeros that bridge its gap
    gaps = torch.full((int(entry[-1]) + 1,), REACH - 1, dtype=torch.uint8)
    gaps[entry] = (zeros % REACH).to(torch.uint8)
    values = flat.new_zeros(len(gaps))
    values[entry] = flat[at]
    return values, gaps


def decode(values: Tensor, gaps: Tensor, shape: Iterable[int], name: str = "") -> Tensor:
    """The tensor that `encode` was given. Raises CheckpointError where the three do not fit each other.

    Files come from strangers: nothing is allocated before it is known that the entries cover the shape exactly, which
    are at most 256 positions each.
    """
    shape = list(shape)
    size = _size(shape, name)
    if values.dtype not in DTYPES or gaps.dtype != torch.uint8 or values.dim() != 1 or values.shape != gaps.shape:
        have = f"{values.dtype} {tuple(values.shape)} and {gaps.dtype} {tuple(gaps.shape)}"
        raise CheckpointError(f"the sparse tensor {name!r} has values and gaps {have}, not as many floats as uint8")
    covered = len(gaps) + int(gaps.sum(dtype=torch.int64))
    if covered != size:
        raise CheckpointError(f"the gaps of the sparse tensor {name!r} cover {covered} weights, its shape has {size}")
    flat = values.new_zeros(size)
    flat[(gaps.to(torch.int64) + 1).cumsum(0) - 1] = values
    return flat.reshape(shape)


def packed(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """The tensors to write, and the shapes of those that are stored as values and gaps: where it makes the file
    smaller."""
    tensors, shapes, room = {}, {}, LARGEST
    for name, tensor in state.items():
        taken = name + VALUES in state or name + GAPS in state
        if taken or tensor.numel() > room or (pair := _smaller(name, tensor)) is None:
            tensors[name] = tensor
        else:
            tensors[name + VALUES], tensors[name + GAPS] = pair
            shapes[name] = list(tensor.shape)
            room -= tensor.numel()
    return tensors, shapes


def unpacked(tensors: Mapping[str, Tensor], shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """The state that `packed` was given; `shapes` as they were read. Raises CheckpointError for what is damaged."""
    if not isinstance(shapes, dict):
        raise CheckpointError(f"its entry 'sparse_shapes' is a {type(shapes).__name__}, not shapes by name")
    sizes = [_size(shape, name) for name, shape in shapes.items()]
    if sum(sizes) > LARGEST:
        raise CheckpointError(f"its sparse tensors have {sum(sizes)} weights, more than {LARGEST}")
    parts = {name: (name + VALUES, name + GAPS) for name in shapes}
    for name, pair in parts.items():
        if lacking := [part for part in pair if part not in tensors]:
            raise CheckpointError(f"it lacks {lacking[0]!r} of the sparse tensor {name!r}")
    used = {part for pair in parts.values() for part in pair}
    state = {name: tensor for name, tensor in tensors.items() if name not in used}
    if twice := [name for name in shapes if name in state]:
        raise CheckpointError(f"it has the tensor {twice[0]!r} twice, sparse and dense")
    for name, (values, gaps) in parts.items():
        state[name] = decode(tensors[values], tensors[gaps], shapes[name], name)
    return state


def sizes(state: Mapping[str, Tensor], entries: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes of the safetensors file of these tensors and plain values, and of the same file with sparse tensors.

    Equal when nothing is gained. Both are made in memory, one after the other.
    """
    tensors, shapes = packed(state)
    dense = _bytes(entries, state)
    return dense, _bytes({**entries, SHAPES: shapes}, tensors) if shapes else dense


def contents(entries: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a safetensors file takes: tensors that are contiguous and share no memory, and metadata, each as JSON."""
    metadata = {key: json.dumps(value, separators=(",", ":")) for key, value in entries.items()}
    return {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in state.items()}, metadata


def _bytes(entries: Mapping[str, Any], state: Mapping[str, Tensor]) -> int:
    return len(save(*contents(entries, state)))


def _smaller(name: str, tensor: Tensor) -> tuple[Tensor, Tensor] | None:
    """The tensor as values and gaps, or None when that is not smaller, with what it adds to the file's header: an
    entry for the gaps and the shape, in which a letter of the name may be escaped."""
    header = 256 + 20 * (len(name) + tensor.dim())
    each = tensor.element_size() + 1
    if tensor.dtype not in DTYPES or int(tensor.count_nonzero()) * each + header >= tensor.nbytes:
        return None
    values, gaps = encode(tensor)
    return (values, gaps) if len(gaps) * each + header < tensor.nbytes else None


def _size(shape: object, name: str) -> int:
    """How many positions a shape has. Raises CheckpointError when it is none."""
    if not isinstance(shape, list) or len(shape) > 32 or not all(type(n) is int and 0 <= n <= LARGEST for n in shape):
        raise CheckpointError(f"the sparse tensor {name!r} has no list of sizes as its shape")
    return math.prod(shape)
