"""A checksum of plain values and tensors, to detect files that changed after they were written.

Neither PyTorch's reader nor safetensors verifies the data it reads: a flipped bit in a weight would go unnoticed.
"""

import hashlib

import torch
from torch import Tensor


def of(value: object) -> str:
    """SHA-256, in hexadecimal, of dicts, lists, tuples, tensors and plain values, including their order.

    An OrderedDict counts as a dict. A tensor counts by dtype, shape and elements, on any device. Raises ValueError for
    a tensor that does not store each of its elements, such as a sparse or expanded one.

    >>> of({"a": [1, 2.5]})[:8], of({"a": [1, 2.5]}) == of({"a": (1, 2.5)})
    ('a30e4844', False)
    """
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: "hashlib._Hash", value: object) -> None:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_meta or value.nbytes > value.untyped_storage().nbytes():
            raise ValueError(f"a {value.layout} tensor of shape {list(value.shape)} does not store all its elements")
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
