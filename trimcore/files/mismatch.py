"""What a state dict lacks for an architecture, tensor by tensor, before anything is copied.

Pure functions of names, shapes and dtypes; the architecture stands on the meta device.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ENTRIES = ("state_dict", "model_state_dict", "model", "network", "net")  # where training scripts keep the weights
LONGEST = 120  # characters of a tensor's name that are told
DEEPEST = 3  # entries in entries; a file of a stranger may nest without end
COMPILED = "_orig_mod."  # what torch.compile puts before the names of what it compiled


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
        name = repr(self.name if len(self.name) <= LONGEST else f"{self.name[:LONGEST]}…")
        if self.problem in ("missing", "extra"):
            return f"{name} is {self.problem}"
        return f"{name} is {self.in_file} in the file, {self.in_model} in the model"


def mismatches(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], free_axes: Mapping[str, Collection[int]]
) -> list[Mismatch]:
    """Compare the weights of a file with those that an architecture wants: first shapes and dtypes, in the order of
    `wanted`, then what is missing, then what is extra.

    `free_axes` gives for a name the axes along which a trimmed network may be shorter; other axes are fixed. Any
    floating point dtype serves for another.
    """
    unequal, missing = [], []
    for name, tensor in wanted.items():
        asked, held = _form(tensor), _form(state[name]) if name in state else None
        if held is None:
            missing.append(Mismatch(name, "missing", None, asked))
        elif not _fits(held.shape, asked.shape, free_axes.get(name, ())):
            unequal.append(Mismatch(name, "shape", held, asked))
        elif _kind(held.dtype) != _kind(asked.dtype):
            unequal.append(Mismatch(name, "dtype", held, asked))
    extra = [Mismatch(name, "extra", _form(tensor), None) for name, tensor in state.items() if name not in wanted]
    return unequal + missing + extra


def _kind(dtype: torch.dtype) -> str:
    return "real" if dtype.is_floating_point else "complex" if dtype.is_complex else "whole"


def _form(tensor: Tensor) -> Form:
    return Form(tuple(tensor.shape), tensor.dtype)


def _fits(held: tuple[int, ...], asked: tuple[int, ...], free: Collection[int]) -> bool:
    return len(held) == len(asked) and all(
        a == b or (axis in free and 1 <= a < b) for axis, (a, b) in enumerate(zip(held, asked, strict=True))
    )


def summary(found: list[Mismatch], arguments: Mapping[str, int]) -> str:
    """One line: how many tensors do not fit, the first of them, and what would be right where that can be told."""
    words = {"shape": "of another shape", "dtype": "of another dtype", "missing": "missing", "extra": "extra"}
    counts = Counter(m.problem for m in found)
    line = ", ".join(f"{counts[kind]} {text}" for kind, text in words.items() if counts[kind])
    advised = advice(found, arguments)
    return f"{line} (first: {found[0]})" + (f"; {advised}" if advised else "")


def advice(found: list[Mismatch], arguments: Mapping[str, int]) -> str:
    """What would fit, in words; empty where the mismatches do not show it. `arguments` are those of `models.build`."""
    problems = {m.problem for m in found}
    if {"missing", "extra"} <= problems:
        return "the names are those of another architecture, or of a variant of this one"
    if "missing" in problems:
        return "the file holds only a part of this model, or one of its smaller relatives"
    if "extra" in problems:
        return "the file holds more than this model has, perhaps a larger relative or the optimizer's state"
    if "dtype" in problems:
        return "weights are floating point numbers; quantised networks are not read"
    for axis, argument, line in (
        (0, "num_classes", "the last layer has {} outputs, the data {} classes"),
        (1, "in_channels", "the first layer takes {} channels, the data have {}"),
    ):
        sizes = {_only_size(m, axis, arguments[argument]) for m in found}
        if len(sizes) == 1 and None not in sizes:
            return line.format(sizes.pop(), arguments[argument])
    return "the shapes are of another variant of this model, or of another image size"


def _only_size(found: Mismatch, axis: int, asked: int) -> int | None:
    """The file's size along `axis`, when the model has `asked` there and trimming explains what else differs."""
    if found.in_file is None or found.in_model is None:
        return None
    held, model = found.in_file.shape, found.in_model.shape
    if len(held) != len(model) or len(held) <= axis or not held[axis] != model[axis] == asked:
        return None
    others = [(a, b) for i, (a, b) in enumerate(zip(held, model, strict=True)) if i != axis]
    trimmed = all(a == b or (a < b and i == 0) for i, (a, b) in enumerate(others))
    return held[axis] if trimmed else None


# --- wrappings ---


def unwrapped(content: Mapping[str, Any], wanted: Collection[str]) -> tuple[Mapping[str, Any], list[str]]:
    """The state dict inside what a training script saved, with the names of the model, and in words what it took.

    The weights may be an entry among others (`state_dict`, `model_state_dict`, ...), and all names may have a prefix
    in common (`module.` of DataParallel, `model.` of a wrapper) or `_orig_mod.` of torch.compile. What does not bring
    more of the names nearer to `wanted` is left as it is.
    """
    done = []
    for _ in range(DEEPEST):
        if entry := next((key for key in ENTRIES if isinstance(content.get(key), Mapping)), None):
            content = content[entry]
            done.append(f"taken from its entry {entry!r}")
    if not all(isinstance(name, str) for name in content):
        return content, done
    names = [name.replace(COMPILED, "") for name in content]
    best = max(_prefixes(names), key=lambda prefix: sum(name[len(prefix) :] in wanted for name in names))
    fitted = dict(zip([name[len(best) :] for name in names], content.values(), strict=True))
    if len(fitted) < len(content) or sum(name in wanted for name in fitted) <= sum(n in wanted for n in content):
        return content, done
    for left_out in (COMPILED, best):
        if left_out and any(left_out in name for name in content):
            done.append(f"without the prefix {left_out!r}")
    return fitted, done


def _prefixes(names: list[str]) -> list[str]:
    """The dotted prefixes that all names have in common, the empty one first."""
    parts = [name.split(".")[:-1] for name in names]
    shared = 0
    while parts and all(len(part) > shared and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return ["".join(f"{part}." for part in parts[0][:count]) if parts else "" for count in range(shared + 1)]
