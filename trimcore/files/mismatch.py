"""Compare a state dict with an architecture, tensor by tensor, before anything is copied.

Pure functions of names, shapes and dtypes. The architecture is on the meta device.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_NAME = 120  # characters of a tensor's name shown in messages


@dataclass(frozen=True)
class Form:
    """Shape and dtype of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{' × '.join(map(str, self.shape)) or 'one number'}, {str(self.dtype).removeprefix('torch.')}"


@dataclass(frozen=True)
class Mismatch:
    """A tensor that does not fit. `problem` is missing (in the file), extra, shape or dtype."""

    name: str
    problem: str
    in_file: Form | None
    in_model: Form | None

    def __str__(self) -> str:
        name = repr(self.name if len(self.name) <= MAX_NAME else f"{self.name[:MAX_NAME]}…")
        if self.problem in ("missing", "extra"):
            return f"{name} is {self.problem}"
        return f"{name} is {self.in_file} in the file, {self.in_model} in the model"


def mismatches(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], free_axes: Mapping[str, Collection[int]]
) -> list[Mismatch]:
    """Compare a file's weights with those of an architecture.

    Lists wrong shapes and dtypes in the order of `wanted`, then missing tensors, then extra ones. `free_axes` maps a
    tensor name to the axes along which a trimmed network may be shorter; all other axes are fixed. Floating-point
    dtypes are interchangeable.
    """
    unequal, missing = [], []
    for name, tensor in wanted.items():
        expected, actual = _form(tensor), _form(state[name]) if name in state else None
        if actual is None:
            missing.append(Mismatch(name, "missing", None, expected))
        elif not _fits(actual.shape, expected.shape, free_axes.get(name, ())):
            unequal.append(Mismatch(name, "shape", actual, expected))
        elif _kind(actual.dtype) != _kind(expected.dtype):
            unequal.append(Mismatch(name, "dtype", actual, expected))
    extra = [Mismatch(name, "extra", _form(tensor), None) for name, tensor in state.items() if name not in wanted]
    return unequal + missing + extra


def _kind(dtype: torch.dtype) -> str:
    return "real" if dtype.is_floating_point else "complex" if dtype.is_complex else "integer"


def _form(tensor: Tensor) -> Form:
    return Form(tuple(tensor.shape), tensor.dtype)


def _fits(actual: tuple[int, ...], expected: tuple[int, ...], free: Collection[int]) -> bool:
    return len(actual) == len(expected) and all(
        a == b or (axis in free and 1 <= a < b) for axis, (a, b) in enumerate(zip(actual, expected, strict=True))
    )


def summary(found: list[Mismatch], arguments: Mapping[str, int]) -> str:
    """One line: how many tensors do not fit, the first of them, and what would fit if that can be determined."""
    words = {"shape": "of another shape", "dtype": "of another dtype", "missing": "missing", "extra": "extra"}
    counts = Counter(m.problem for m in found)
    line = ", ".join(f"{counts[kind]} {text}" for kind, text in words.items() if counts[kind])
    hint = advice(found, arguments)
    return f"{line} (first: {found[0]})" + (f"; {hint}" if hint else "")


def advice(found: list[Mismatch], arguments: Mapping[str, int]) -> str:
    """A hint about the cause of the mismatches. `arguments` are those of `models.build`."""
    problems = {m.problem for m in found}
    if {"missing", "extra"} <= problems:
        return "the names belong to another architecture or a variant of this one"
    if "missing" in problems:
        return "the file contains only part of this model, or a smaller variant"
    if "extra" in problems:
        return "the file contains more than this model, perhaps a larger variant or the optimizer's state"
    if "dtype" in problems:
        return "weights must be floating point; quantised networks are not supported"
    for axis, argument, line in (
        (0, "num_classes", "the last layer has {} outputs, but the data have {} classes"),
        (1, "in_channels", "the first layer takes {} channels, but the data have {}"),
    ):
        sizes = {_only_size(m, axis, arguments[argument]) for m in found}
        if len(sizes) == 1 and None not in sizes:
            return line.format(sizes.pop(), arguments[argument])
    return "the shapes belong to another variant of this model or another image size"


def _only_size(found: Mismatch, axis: int, expected: int) -> int | None:
    """The file's size along `axis`, if the model's size there is `expected` and trimming explains all other changes."""
    if found.in_file is None or found.in_model is None:
        return None
    actual, model = found.in_file.shape, found.in_model.shape
    if len(actual) != len(model) or len(actual) <= axis or not actual[axis] != model[axis] == expected:
        return None
    others = [(a, b) for i, (a, b) in enumerate(zip(actual, model, strict=True)) if i != axis]
    trimmed = all(a == b or (a < b and i == 0) for i, (a, b) in enumerate(others))
    return actual[axis] if trimmed else None
