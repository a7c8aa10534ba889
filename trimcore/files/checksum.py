"""A checksum of plain values and tensors, so that a file that was changed after it was written is noticed.

Neither PyTorch's reader nor safetensors compares what it reads with what was written: a flipped bit in a weight would
go unseen.
"""

import hashlib

import torch
from torch import Tensor


def of(value: object) -> str:
    """SHA-256 of dicts, lists, tuples, tensors and plain values, in hexadecimal digits: of all that they hold, and of
    their order. An OrderedDict counts as a dict, and a tensor for its type, shape and elements, wherever it is. Raises
    ValueError for a tensor that does not hold each of its elements: a sparse one, or a few bytes seen as many.

    >>> of({"a": [1, 2.5]})[:8], of({"a": [1, 2.5]}) == of({"a": (1, 2.5)})
    ('a30e4844', False)
    """
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: "hashlib._Hash", value: object) -> None:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_meta or value.nbytes > value.untyped_storage().nbytes():
            raise ValueError(f"a {value.layout} tensor of shape {list(value.shape)} that holds less than its elements")
        digest.update(f"tensor {value.dtype} {list(value.shape)};".encode())
        if value.numel():
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, dict):
        digest.update(f"dict {len(value)};".encode())
        for key, held in value.items():
            _feed(digest, key)
            _feed(digest, held)
    elif isinstance(value, list | tuple):
        digest.update(f"{type(value).__name__} {len(value)};".encode())
        for held in value:
            _feed(digest, held)
    else:
        digest.update(f"{type(value).__name__} {value!r};".encode())
