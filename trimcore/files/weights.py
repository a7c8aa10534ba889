"""Read and write weights files. Untrusted files are safe: nothing in them is executed, and damage is a one-line error.

Two formats are read and recognised by their first bytes: `torch.save` files with only tensors and plain values (see
`files.plain_objects`), and safetensors (https://huggingface.co/docs/safetensors). safetensors files have a metadata
table of strings, in which trimcore stores everything but the weights, each entry as JSON. Tensors with many zeros may
be stored in the format of `files.sparse`, which is read transparently.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trimcore.errors import CheckpointError, first_line
from trimcore.files import checksum
from trimcore.files.plain_objects import plain_objects
from trimcore.files.sparse import SHAPES, contents, packed, unpacked
from trimcore.system.files import open_regular

# What torch's reader reports for a class or function, or for the opcodes that newer pickles use for them.
PYTHON_OBJECTS = re.compile(r"GLOBAL (?P<name>[\w.]{1,80})|GLOBAL|Can only (create|build)|operand (147|149)\b")


def read(path: str | Path) -> dict[str, Any]:
    """Read a weights file. Raises CheckpointError.

    A safetensors file written by trimcore returns `{"format": 1, "model": ..., "state": {...}}`, like trimcore's `.pt`
    files. Any other safetensors file returns tensors by name.
    """
    try:
        with open_regular(path) as file:
            start = file.read(9)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {str(path)!r}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    if start[4:] == b"\0\0\0\0{":  # header length below 4 GiB, then the JSON header
        return _read_safetensors(path)
    return _read_torch(path)


def _read_torch(path: str | Path) -> dict[str, Any]:
    try:
        with plain_objects():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (damaged bytes can make the unpickler raise anything)
        if found := PYTHON_OBJECTS.search(str(error)):
            name = f" ({found['name']})" if found["name"] else ""
            raise CheckpointError(
                f"{str(path)!r} contains Python objects{name}, which are not loaded; save model.state_dict() instead"
            ) from None
        raise CheckpointError(
            f"{str(path)!r} is not a checkpoint with plain weights, a state dict or safetensors: {first_line(error)}"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{str(path)!r} contains a {type(content).__name__}, not weights by name")
    if isinstance(expected := content.get("checksum"), str):  # older files have none
        content = {key: value for key, value in content.items() if key != "checksum"}
        try:
            actual = checksum.of(content)
        except (ValueError, RuntimeError, RecursionError) as error:
            raise CheckpointError(f"{str(path)!r} is damaged: {first_line(error)}") from None
        if actual != expected:
            raise CheckpointError(f"{str(path)!r} is damaged: its checksum does not match")
    return content


def _read_safetensors(path: str | Path) -> dict[str, Any]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{str(path)!r} is not a safetensors file: {first_line(error)}") from None
    ours = {"format", "model", "widths"} <= set(metadata)
    known = [key for key in metadata if ours or key == SHAPES]
    try:
        entries = {key: json.loads(metadata[key]) for key in known}
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the metadata of {str(path)!r} is not JSON: {first_line(error)}") from None
    if SHAPES in entries:
        try:
            state = unpacked(state, entries.pop(SHAPES))
        except CheckpointError as error:
            raise CheckpointError(f"{str(path)!r} is damaged: {error}") from None
    return {**entries, "state": state} if ours else state


def write_safetensors(entries: Mapping[str, Any], state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors, with the plain values in `entries` as metadata. Raises OSError."""
    tensors, metadata = contents(entries, state)
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        raise OSError(first_line(error)) from None


def write_sparse(entries: Mapping[str, Any], state: Mapping[str, Tensor], path: Path) -> None:
    """Like `write_safetensors`, but with mostly-zero tensors as values and gaps if that is smaller. Raises OSError."""
    tensors, shapes = packed(state)
    write_safetensors({**entries, SHAPES: shapes} if shapes else entries, tensors, path)


def are_plain(state: object) -> TypeGuard[dict[str, Tensor]]:
    """Whether `state` is a state dict of ordinary tensors: names mapped to dense tensors with values in memory."""
    return isinstance(state, dict) and all(
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and not (tensor.is_meta or tensor.is_quantized or tensor.is_nested)
        for name, tensor in state.items()
    )
