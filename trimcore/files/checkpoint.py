"""Checkpoints: weights and a table of widths, never a pickled class. Readable with `torch.load(weights_only=True)`.

A network is rebuilt from its name: the architecture is built on the meta device, resized to the widths in the file, and
loaded with the weights.
"""

import math
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trimcore import models
from trimcore.errors import CheckpointError, NotTrimmable, first_line
from trimcore.files import checksum
from trimcore.files.head import head_names, with_new_head
from trimcore.files.mismatch import mismatches, summary
from trimcore.files.weights import are_plain, read, write_safetensors
from trimcore.files.wrapping import unwrapped
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.layers import sharpened
from trimcore.layers.places import split_places
from trimcore.surgery.reconstruction import architecture, build_with, units_by_shape, widths_of

FORMAT = 1
MAX_SIZE = 100_000  # classes, channels or pixels that a checkpoint may request
ARGUMENTS = ["image_size", "in_channels", "num_classes"]
NEW_HEAD = 'head = "new" under [base] takes all weights but those of the head, and trains a new one'
KINDS = {
    "model": (str,), "activations": (str,), "iteration": (int,), "epochs": (int,), "sparse": (list,),
    "state": (dict, OrderedDict),
}  # fmt: skip


@dataclass
class Checkpoint:
    """`arguments` are those of `models.build`. `widths` maps every convolution and linear layer to its number of
    neurons. `origins` gives, for layers that were cut, each neuron's index in the base model. `base` gives the base
    model's parameters and MACs."""

    model: str
    arguments: dict[str, int]
    widths: dict[str, int]
    state: dict[str, Tensor]
    origins: dict[str, list[int]] = field(default_factory=dict)
    base: dict[str, int] = field(default_factory=dict)
    iteration: int = 0
    epochs: int = 0  # training epochs so far
    activations: str = ""  # "relu": the architecture's GELU, SiLU and Hardswish modules were converted to ReLU
    units: dict[str, int] = field(default_factory=dict)  # layers with maxout units -> neurons per unit; 1: no maximum
    sparse: list[str] = field(default_factory=list)  # layers whose zero weights stay zero

    def build(self) -> nn.Module:
        """Build the network in training mode on the CPU. Raises CheckpointError if file and architecture disagree."""
        network = build_with(self.model, self.arguments, self.state, self.widths, self.units)
        return sharpened.to_relu(network) if self.activations else network

    @property
    def entries(self) -> dict[str, Any]:
        """Everything except the weights."""
        return {key: value for key, value in vars(self).items() if key != "state"}


def describe_arguments(arguments: dict[str, int]) -> str:
    """A readable line: '10 classes, 1 channels, 28 pixels', then any options."""
    options = [f"{key} {value}" for key, value in arguments.items() if key not in ARGUMENTS]
    shape = "{num_classes} classes, {in_channels} channels, {image_size} pixels".format(**arguments)
    return ", ".join([shape, *options])


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write to a temporary file, then rename it, so readers never see a partial file."""
    save_atomic({"format": FORMAT, **vars(checkpoint)}, path)


def save_atomic(content: dict[str, Any], path: Path) -> None:
    """Write a file atomically, with a checksum that `read` verifies. Raises OSError."""
    with temporary_file(content, path) as temporary:
        os.replace(temporary, path)


@contextmanager
def temporary_file(content: dict[str, Any], path: Path) -> Iterator[Path]:
    """Write the content and its checksum to a temporary file next to `path`, synced to disk.

    The file is deleted after the block unless it was moved. Raises OSError, also if PyTorch's writer hides it behind
    another error.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            try:
                torch.save({**content, "checksum": checksum.of(content)}, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # a full disk: the writer then fails on its file position
                    raise error.__context__ from None
                raise
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def save_safetensors(checkpoint: Checkpoint, path: Path) -> None:
    """Write the weights as safetensors and all other entries as JSON in its metadata. `load` reads it back."""
    write_safetensors({"format": FORMAT, **checkpoint.entries}, checkpoint.state, path)


def classes_in(path: str | Path) -> int:
    """The number of classes of the network whose weights are in a file: what the file says, or else the outputs of its
    last layer. Raises CheckpointError."""
    content = read(path)
    arguments = content.get("arguments")
    if isinstance(arguments, dict) and type(arguments.get("num_classes")) is int:
        return int(arguments["num_classes"])
    state, _ = unwrapped(content, ())
    matrices = [tensor for tensor in state.values() if isinstance(tensor, Tensor) and tensor.dim() >= 2]
    if not matrices:
        raise CheckpointError(f"{str(path)!r} has no weights of layers, so its number of classes is unknown")
    return len(matrices[-1])


def load(path: str | Path) -> Checkpoint:
    """Load a checkpoint written by `save` or `save_safetensors`. Raises CheckpointError."""
    return _checked(path, read(path))


def _checked(path: str | Path, content: dict[str, Any]) -> Checkpoint:
    """Build a Checkpoint from a file's content, after checking the type of each entry and the range of each size."""
    version = content.get("format")
    if type(version) is not int or version != FORMAT:
        shown = version if isinstance(version, int | str) else None
        raise CheckpointError(f"{str(path)!r} is not a trimcore checkpoint (format {shown!r}, not {FORMAT})")
    try:
        found = Checkpoint(**{key: value for key, value in content.items() if key != "format"})
    except TypeError as error:
        raise CheckpointError(f"{str(path)!r} has a missing or unknown entry: {first_line(error)}") from None
    for key, value in vars(found).items():
        expected = KINDS.get(key, (dict,))
        if type(value) not in expected:
            raise CheckpointError(
                f"{str(path)!r} has {key!r} of type {type(value).__name__}, not {expected[0].__name__}"
            )
    if found.activations not in ("", "relu"):
        raise CheckpointError(f"{str(path)!r} has activations {found.activations!r}, not '' or 'relu'")
    if not set(ARGUMENTS) <= set(found.arguments) or not _are_sizes(found.arguments.values(), MAX_SIZE):
        raise CheckpointError(f"{str(path)!r} has arguments {found.arguments}, not positive sizes for {ARGUMENTS}")
    if not _are_sizes(found.units.values(), MAX_SIZE) or not all(type(name) is str for name in found.sparse):
        raise CheckpointError(f"{str(path)!r} has invalid maxout units {found.units} or sparse layers {found.sparse}")
    if found.base and not ({"macs", "parameters"} <= set(found.base) and _are_sizes(found.base.values())):
        raise CheckpointError(f"{str(path)!r} lacks positive parameters and MACs of its base model")
    if found.iteration < 0 or found.epochs < 0:
        raise CheckpointError(f"{str(path)!r} has iteration {found.iteration} and {found.epochs} epochs, not 0 or more")
    for name, origins in found.origins.items():
        distinct = isinstance(origins, list) and all(type(i) is int and i >= 0 for i in origins)
        if not distinct or not len(origins) == len(set(origins)) == found.widths.get(name, len(origins)):
            raise CheckpointError(f"{str(path)!r} has origins for {name!r} that do not match its neurons")
    _tensors(path, found.state)
    return found


def _are_sizes(values: Iterable[object], largest: float = math.inf) -> bool:
    return all(type(n) is int and 0 < n <= largest for n in values)


def _tensors(path: str | Path, state: object) -> dict[str, Tensor]:
    if not are_plain(state):
        raise CheckpointError(f"{str(path)!r} does not contain tensors by name, as a state dict does")
    return state


def load_weights(path: str | Path, model: str, arguments: dict[str, int], new_head: bool = False) -> Checkpoint:
    """Load weights for `model` from a trimcore checkpoint, a state dict, or a safetensors file.

    Strips name prefixes and finds weights nested inside a training checkpoint. With `new_head`, the file may be for
    another number of classes, or lack the head; the head gets new weights. Raises CheckpointError for any other file,
    and for weights that do not fit `model` and its `arguments`; `mismatches` then lists the tensors that do not fit.
    """
    return find_weights(path, model, arguments, new_head)[0]


def find_weights(
    path: str | Path, model: str, arguments: dict[str, int], new_head: bool = False
) -> tuple[Checkpoint, list[str]]:
    """`load_weights`, plus readable notes on what was changed."""
    content = read(path)
    if "format" in content and "state" in content:
        found = _checked(path, content)
        if found.model != model:
            raise CheckpointError(f"{str(path)!r} is a checkpoint of {found.model!r}, not {model!r}")
        classes = {"num_classes": arguments["num_classes"]} if new_head else {}
        if {**found.arguments, **classes} != arguments:  # before building: a file may ask for a network of any size
            have, want = describe_arguments(found.arguments), describe_arguments(arguments)
            same = {**found.arguments, "num_classes": arguments["num_classes"]} == arguments
            raise CheckpointError(f"{str(path)!r} is for {have}, not {want}" + (f"; {NEW_HEAD}" if same else ""))
        network = architecture(model, arguments)
        heads = head_names(model, arguments) if new_head else []
        if new_head:
            found = _for_other_classes(found, network, heads, arguments)
        _check_fit(path, found.state, network, model, arguments)
        _check_numbers(path, found.state)
        found.build()
        return found, _new(heads)
    network = architecture(model, arguments)
    inside, done = unwrapped(content, network.state_dict())
    state, heads = _tensors(path, inside), head_names(model, arguments) if new_head else []
    state = with_new_head(state, network.state_dict(), heads)
    _check_fit(path, state, network, model, arguments)
    _check_numbers(path, state)
    units = units_by_shape(network, arguments, state)
    widths = widths_of(build_with(model, arguments, state, units=units))
    return Checkpoint(model, arguments, widths, state, units=units), [*done, *_new(heads)]


def _for_other_classes(
    found: Checkpoint, network: nn.Module, heads: list[str], arguments: dict[str, int]
) -> Checkpoint:
    """The checkpoint with a new head, for other classes. `network` is the whole architecture for them."""
    layers = {name.rpartition(".")[0] for name in heads}
    own = {name: width for name, width in widths_of(network).items() if name in layers}
    with torch.device("meta"):
        example = models.example_input(arguments, model=found.model)
    cost = cost_of(trace(network, example))
    return replace(
        found,
        arguments=arguments,
        widths={**found.widths, **own},
        state=with_new_head(found.state, network.state_dict(), heads),
        origins={name: origins for name, origins in found.origins.items() if name not in layers},
        base={"parameters": cost.parameters, "macs": cost.macs} if found.base else {},
    )


def _new(heads: list[str]) -> list[str]:
    return [f"with new weights in {', '.join(map(repr, heads))}"] if heads else []


def _check_fit(
    path: str | Path, state: dict[str, Tensor], network: nn.Module, model: str, arguments: dict[str, int]
) -> None:
    """Raise CheckpointError, with the mismatches, if tensors do not fit the architecture."""
    wanted, (state, _) = network.state_dict(), split_places(state)
    if not mismatches(wanted, state, {}):
        return  # untrimmed, so tracing is unnecessary
    if found := mismatches(wanted, state, _free_axes(network, arguments, model)):
        only_head = {mismatch.name for mismatch in found} <= set(head_names(model, arguments))
        more = f"; {NEW_HEAD}" if only_head else ""
        raise CheckpointError(f"{str(path)!r} does not fit {model}: {summary(found, arguments)}{more}", found)


def _check_numbers(path: str | Path, state: dict[str, Tensor]) -> None:
    """Raise CheckpointError for non-finite weights, which diverged in training."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"{str(path)!r} has non-finite values in {name!r}")


def _free_axes(network: nn.Module, arguments: dict[str, int], model: str) -> dict[str, list[int]]:
    """By tensor name, the axes along which a trimmed network may be shorter: those with removable neurons."""
    with torch.device("meta"):
        example = models.example_input(arguments, model=model)
    try:
        graph = trace(network, example, embeddings=True)
    except NotTrimmable:
        return {}
    free = {
        id(tensor): [i for i, role in enumerate(roles) if role and set(part.groups[role].tolist()) - set(graph.frozen)]
        for part in graph.parts.values()
        for _, tensor, roles in part.tensors()
    }
    return {name: free.get(id(tensor), []) for name, tensor in network.state_dict(keep_vars=True).items()}
