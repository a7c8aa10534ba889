"""Checkpoints: weights and a table of widths, never a pickled class. Readable with `torch.load(weights_only=True)`.

A network is rebuilt from its name: the architecture is made on the meta device, brought to the widths of the file, and
given the weights.
"""

import math
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trimcore import models
from trimcore.errors import CheckpointError, NotTrimmable, first_line
from trimcore.files import checksum
from trimcore.files.mismatch import mismatches, summary, unwrapped
from trimcore.files.weights import are_plain, read, write_safetensors
from trimcore.graph.tracing import trace
from trimcore.layers import sharpened
from trimcore.surgery.reconstruction import architecture, build_with, units_by_shape, widths_of

FORMAT = 1
LARGEST = 100_000  # classes, channels or pixels that a checkpoint may ask to be built for
ARGUMENTS = ["image_size", "in_channels", "num_classes"]
KINDS = {
    "model": (str,), "activations": (str,), "iteration": (int,), "epochs": (int,), "sparse": (list,),
    "state": (dict, OrderedDict),
}  # fmt: skip


@dataclass
class Checkpoint:
    """`arguments` are those of `models.build`; `widths` maps every convolution and linear layer to its neurons;
    `origins` gives, for layers that were cut, each neuron's index in the base model; `base` the base model's
    parameters and MACs."""

    model: str
    arguments: dict[str, int]
    widths: dict[str, int]
    state: dict[str, Tensor]
    origins: dict[str, list[int]] = field(default_factory=dict)
    base: dict[str, int] = field(default_factory=dict)
    iteration: int = 0
    epochs: int = 0  # of training that the weights have had
    activations: str = ""  # "relu": GELU, SiLU and Hardswish modules of the architecture have been converted to ReLU
    units: dict[str, int] = field(default_factory=dict)  # layers with maxout units -> neurons a unit, 1: no maximum
    sparse: list[str] = field(default_factory=list)  # layers in which weights that are zero stay zero

    def build(self) -> nn.Module:
        """The network, in training mode, on the CPU. Raises CheckpointError when file and architecture disagree."""
        network = build_with(self.model, self.arguments, self.state, self.widths, self.units)
        return sharpened.to_relu(network) if self.activations else network

    @property
    def entries(self) -> dict[str, Any]:
        """All but the weights."""
        return {key: value for key, value in vars(self).items() if key != "state"}


def in_words(arguments: dict[str, int]) -> str:
    options = [f"{key} {value}" for key, value in arguments.items() if key not in ARGUMENTS]
    shape = "{num_classes} classes, {in_channels} channels, {image_size} pixels".format(**arguments)
    return ", ".join([shape, *options])


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write under a temporary name, then rename: a reader never sees half a file."""
    save_atomic({"format": FORMAT, **vars(checkpoint)}, path)


def save_atomic(content: dict[str, Any], path: Path) -> None:
    """As a file with a checksum, which `read` compares. Raises OSError."""
    with written(content, path) as temporary:
        os.replace(temporary, path)


@contextmanager
def written(content: dict[str, Any], path: Path) -> Iterator[Path]:
    """The content with its checksum, safe on the disk under a temporary name beside `path`. After the block it is gone,
    unless it was moved from there. Raises OSError, also where PyTorch's writer tells it in other words."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            try:
                torch.save({**content, "checksum": checksum.of(content)}, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # a full disk: the writer missed its place in the file then
                    raise error.__context__ from None
                raise
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def save_safetensors(checkpoint: Checkpoint, path: Path) -> None:
    """Write the weights as safetensors, all else as its metadata, each entry as JSON. `load` reads it back."""
    write_safetensors({"format": FORMAT, **checkpoint.entries}, checkpoint.state, path)


def load(path: str | Path) -> Checkpoint:
    """A checkpoint written by `save` or `save_safetensors`. Raises CheckpointError."""
    return _checked(path, read(path))


def _checked(path: str | Path, content: dict[str, Any]) -> Checkpoint:
    """The checkpoint that a file's content makes: each entry is of its kind, and no size is out of range."""
    version = content.get("format")
    if type(version) is not int or version != FORMAT:
        said = version if isinstance(version, int | str) else None
        raise CheckpointError(f"{str(path)!r} is no checkpoint of this tool (format {said!r}, not {FORMAT})")
    try:
        found = Checkpoint(**{key: value for key, value in content.items() if key != "format"})
    except TypeError as error:
        raise CheckpointError(f"{str(path)!r} lacks or adds an entry: {first_line(error)}") from None
    for key, value in vars(found).items():
        if type(value) not in KINDS.get(key, (dict,)):
            raise CheckpointError(f"{str(path)!r} has a {type(value).__name__} as its {key!r}")
    if found.activations not in ("", "relu"):
        raise CheckpointError(f"{str(path)!r} has activations {found.activations!r}; there are '' and 'relu'")
    if not set(ARGUMENTS) <= set(found.arguments) or not _are_sizes(found.arguments.values(), LARGEST):
        raise CheckpointError(f"{str(path)!r} has the arguments {found.arguments}, not numbers for {ARGUMENTS}")
    if not _are_sizes(found.units.values(), LARGEST) or not all(type(name) is str for name in found.sparse):
        raise CheckpointError(f"{str(path)!r} has maxout units {found.units} and sparse layers {found.sparse}")
    if found.base and not ({"macs", "parameters"} <= set(found.base) and _are_sizes(found.base.values())):
        raise CheckpointError(f"{str(path)!r} does not tell the parameters and MACs of its base model")
    if found.iteration < 0 or found.epochs < 0:
        raise CheckpointError(f"{str(path)!r} has iteration {found.iteration} and {found.epochs} epochs, below 0")
    for name, origins in found.origins.items():
        distinct = isinstance(origins, list) and all(type(i) is int and i >= 0 for i in origins)
        if not distinct or not len(origins) == len(set(origins)) == found.widths.get(name, len(origins)):
            raise CheckpointError(f"{str(path)!r} has origins for {name!r} that are not those of its neurons")
    _tensors(path, found.state)
    return found


def _are_sizes(values: Iterable[object], largest: float = math.inf) -> bool:
    return all(type(n) is int and 0 < n <= largest for n in values)


def _tensors(path: str | Path, state: object) -> dict[str, Tensor]:
    if not are_plain(state):
        raise CheckpointError(f"{str(path)!r} does not hold tensors by name, as a state dict does")
    return state


def load_weights(path: str | Path, model: str, arguments: dict[str, int]) -> Checkpoint:
    """Weights for `model` from a checkpoint of this tool, a state dict, or a safetensors file.

    Raises CheckpointError for what is no such file or does not fit `model` and its `arguments`; its `mismatches` then
    tell which tensors do not. Names with a prefix and weights that are an entry among others are found too.
    """
    return find_weights(path, model, arguments)[0]


def find_weights(path: str | Path, model: str, arguments: dict[str, int]) -> tuple[Checkpoint, list[str]]:
    """`load_weights`, and in words what had to be taken off the weights."""
    content = read(path)
    if "format" in content and "state" in content:
        found = _checked(path, content)
        if found.model != model:
            raise CheckpointError(f"{str(path)!r} holds a {found.model}, not a {model}")
        if found.arguments != arguments:  # before anything is built: a file may ask for a network of any size
            have, want = in_words(found.arguments), in_words(arguments)
            raise CheckpointError(f"{str(path)!r} is for {have}; wanted are {want}")
        _check_fit(path, found.state, architecture(model, arguments), model, arguments)
        _check_numbers(path, found.state)
        found.build()
        return found, []
    network = architecture(model, arguments)
    inside, done = unwrapped(content, network.state_dict())
    state = _tensors(path, inside)
    _check_fit(path, state, network, model, arguments)
    _check_numbers(path, state)
    units = units_by_shape(network, arguments, state)
    widths = widths_of(build_with(model, arguments, state, units=units))
    return Checkpoint(model, arguments, widths, state, units=units), done


def _check_fit(
    path: str | Path, state: dict[str, Tensor], network: nn.Module, model: str, arguments: dict[str, int]
) -> None:
    """Raises CheckpointError, with a table of the tensors that do not fit the architecture."""
    wanted = network.state_dict()
    if not mismatches(wanted, state, {}):
        return  # nothing was trimmed, so nothing needs to be traced
    if found := mismatches(wanted, state, _free_axes(network, arguments)):
        raise CheckpointError(f"{str(path)!r} does not fit {model}: {summary(found, arguments)}", found)


def _check_numbers(path: str | Path, state: dict[str, Tensor]) -> None:
    """Raises CheckpointError for weights of a training that came to nothing."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"{str(path)!r} has values in {name!r} that are no finite numbers")


def _free_axes(network: nn.Module, arguments: dict[str, int]) -> dict[str, list[int]]:
    """By name, the axes along which the weights of a trimmed network may be shorter: those with neurons that may go."""
    with torch.device("meta"):
        example = models.example_input(arguments)
    try:
        graph = trace(network, example)
    except NotTrimmable:
        return {}
    free = {
        id(tensor): [i for i, role in enumerate(roles) if role and set(part.groups[role].tolist()) - set(graph.frozen)]
        for part in graph.parts.values()
        for _, tensor, roles in part.tensors()
    }
    return {name: free.get(id(tensor), []) for name, tensor in network.state_dict(keep_vars=True).items()}
