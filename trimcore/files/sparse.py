"""Compact storage for tensors with many zeros (Han et al. 2016, Deep Compression, arXiv 1510.00149, section 2).

In flattened order, only non-zero values are stored, each with its gap: the number of zeros before it, as one byte.
Longer runs of zeros are bridged by stored zeros: one with gap 255 stands for 256 zeros. The last position is always
stored, so the entries cover the whole tensor: its size is the sum of gap + 1 over all entries.

In a file, tensor NAME becomes the tensors NAME.values and NAME.gaps, and its shape goes into the metadata entry
`sparse_shapes`.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from trimcore.errors import CheckpointError

REACH = 256  # maximum positions that one entry covers
MAX_SIZE = 2**30  # weights in all sparse tensors of a file; a small file must not fill the memory
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
    entry = (zeros // REACH + 1).cumsum(0) - 1  # index of each value, after the stored zeros that bridge its gap
    gaps = torch.full((int(entry[-1]) + 1,), REACH - 1, dtype=torch.uint8)
    gaps[entry] = (zeros % REACH).to(torch.uint8)
    values = flat.new_zeros(len(gaps))
    values[entry] = flat[at]
    return values, gaps


def decode(values: Tensor, gaps: Tensor, shape: Iterable[int], name: str = "") -> Tensor:
    """Invert `encode`. Raises CheckpointError if values, gaps and shape do not match.

    Files may be untrusted: nothing is allocated until the entries, which cover at most 256 positions each, are known to
    cover the shape exactly.
    """
    shape = list(shape)
    size = _size(shape, name)
    if values.dtype not in DTYPES or gaps.dtype != torch.uint8 or values.dim() != 1 or values.shape != gaps.shape:
        have = f"{values.dtype} {tuple(values.shape)} and {gaps.dtype} {tuple(gaps.shape)}"
        raise CheckpointError(f"sparse tensor {name!r} has values and gaps {have}, not floats and uint8 of one length")
    covered = len(gaps) + int(gaps.sum(dtype=torch.int64))
    if covered != size:
        raise CheckpointError(f"the gaps of sparse tensor {name!r} cover {covered} weights, but its shape has {size}")
    flat = values.new_zeros(size)
    flat[(gaps.to(torch.int64) + 1).cumsum(0) - 1] = values
    return flat.reshape(shape)


def packed(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """The tensors to write, and the shapes of those stored as values and gaps because that makes the file smaller."""
    tensors, shapes, room = {}, {}, MAX_SIZE
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
    """Invert `packed`; `shapes` may be invalid, as read from a file. Raises CheckpointError for damaged data."""
    if not isinstance(shapes, dict):
        raise CheckpointError(f"its entry 'sparse_shapes' is a {type(shapes).__name__}, not shapes by name")
    sizes = [_size(shape, name) for name, shape in shapes.items()]
    if sum(sizes) > MAX_SIZE:
        raise CheckpointError(f"its sparse tensors have {sum(sizes)} weights, more than {MAX_SIZE}")
    parts = {name: (name + VALUES, name + GAPS) for name in shapes}
    for name, pair in parts.items():
        if lacking := [part for part in pair if part not in tensors]:
            raise CheckpointError(f"it lacks {lacking[0]!r} of sparse tensor {name!r}")
    used = {part for pair in parts.values() for part in pair}
    state = {name: tensor for name, tensor in tensors.items() if name not in used}
    if twice := [name for name in shapes if name in state]:
        raise CheckpointError(f"it contains tensor {twice[0]!r} twice, sparse and dense")
    for name, (values, gaps) in parts.items():
        state[name] = decode(tensors[values], tensors[gaps], shapes[name], name)
    return state


def sizes(state: Mapping[str, Tensor], entries: Mapping[str, Any]) -> tuple[int, int]:
    """File sizes in bytes as plain safetensors and with sparse tensors, including `entries` as metadata.

    They are equal if sparse storage saves nothing. Both files are built in memory, one after the other.
    """
    tensors, shapes = packed(state)
    dense = _bytes(entries, state)
    return dense, _bytes({**entries, SHAPES: shapes}, tensors) if shapes else dense


def contents(entries: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Content for a safetensors file: contiguous tensors that share no memory, and metadata entries as JSON."""
    metadata = {key: json.dumps(value, separators=(",", ":")) for key, value in entries.items()}
    return {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in state.items()}, metadata


def _bytes(entries: Mapping[str, Any], state: Mapping[str, Tensor]) -> int:
    return len(save(*contents(entries, state)))


def _smaller(name: str, tensor: Tensor) -> tuple[Tensor, Tensor] | None:
    """The tensor as values and gaps, or None if that is not smaller.

    This counts the larger file header: an entry for the gaps, and the shape, with escaped characters in the name.
    """
    header = 256 + 20 * (len(name) + tensor.dim())
    each = tensor.element_size() + 1
    if tensor.dtype not in DTYPES or int(tensor.count_nonzero()) * each + header >= tensor.nbytes:
        return None
    values, gaps = encode(tensor)
    return (values, gaps) if len(gaps) * each + header < tensor.nbytes else None


def _size(shape: object, name: str) -> int:
    """The number of elements in a shape. Raises CheckpointError for an invalid shape."""
    if not isinstance(shape, list) or len(shape) > 32 or not all(type(n) is int and 0 <= n <= MAX_SIZE for n in shape):
        raise CheckpointError(f"the shape of sparse tensor {name!r} is not a list of valid sizes")
    return math.prod(shape)
