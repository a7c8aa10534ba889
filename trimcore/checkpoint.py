"""Checkpoints: weights and a table of widths, never a pickled class. Readable with `torch.load(weights_only=True)`.

A network is rebuilt from its name: the architecture is made on the meta device, brought to the widths of the file, and
given the weights.
"""

import math
import os
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from trimcore import models, smooth
from trimcore.errors import CheckpointError, NotTrimmable, SpecError, first_line
from trimcore.graph import ChannelGraph
from trimcore.grouping import groupable, insert
from trimcore.mismatch import mismatches, summary, unwrapped
from trimcore.surgery import set_widths
from trimcore.tracing import trace
from trimcore.weightfiles import are_plain, read, write_safetensors

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
        return smooth.to_relu(network) if self.activations else network

    @property
    def entries(self) -> dict:
        """All but the weights."""
        return {key: value for key, value in vars(self).items() if key != "state"}


def in_words(arguments: dict[str, int]) -> str:
    return "{num_classes} classes, {in_channels} channels, {image_size} pixels".format(**arguments)


def widths_of(model: nn.Module) -> dict[str, int]:
    """Neurons of every convolution and linear layer, by name; and the channels of normalisation that has no weights or
    statistics, whose width no state dict shows."""
    widths = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvTransposeNd):
            widths[name] = module.out_channels
        elif isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            widths[name] = module.weight.shape[0]
        elif _is_bare_norm(module):
            widths[name] = module.num_channels if isinstance(module, nn.GroupNorm) else module.num_features
    return widths


def _is_bare_norm(module: nn.Module) -> bool:
    norm = isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm)
    return norm and not any(tensor is not None for tensor in (*module._parameters.values(), *module._buffers.values()))


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write under a temporary name, then rename: a reader never sees half a file."""
    save_atomic({"format": FORMAT, **vars(checkpoint)}, path)


def save_atomic(content: dict, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_safetensors(checkpoint: Checkpoint, path: Path) -> None:
    """Write the weights as safetensors, all else as its metadata, each entry as JSON. `load` reads it back."""
    write_safetensors({"format": FORMAT, **checkpoint.entries}, checkpoint.state, path)


def load(path: str | Path) -> Checkpoint:
    """A checkpoint written by `save` or `save_safetensors`. Raises CheckpointError."""
    return _checked(path, read(path))


def _checked(path: str | Path, content: dict) -> Checkpoint:
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
    _check_tensors(path, found.state)
    return found


def _are_sizes(values: Iterable, largest: float = math.inf) -> bool:
    return all(type(n) is int and 0 < n <= largest for n in values)


def _check_tensors(path: str | Path, state) -> None:
    if not are_plain(state):
        raise CheckpointError(f"{str(path)!r} does not hold tensors by name, as a state dict does")


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
        found, done = _checked(path, content), []
        if found.model != model:
            raise CheckpointError(f"{str(path)!r} holds a {found.model}, not a {model}")
        if found.arguments != arguments:  # before anything is built: a file may ask for a network of any size
            have, want = in_words(found.arguments), in_words(arguments)
            raise CheckpointError(f"{str(path)!r} is for {have}; wanted are {want}")
        _check_fit(path, found.state, _architecture(model, arguments), model, arguments)
        found.build()
        return found, done
    network = _architecture(model, arguments)
    state, done = unwrapped(content, network.state_dict())
    _check_tensors(path, state)
    _check_fit(path, state, network, model, arguments)
    return Checkpoint(model, arguments, widths_of(build_with(model, arguments, state)), state), done


def _check_fit(path: str | Path, state: dict[str, Tensor], network: nn.Module, model: str, arguments: dict) -> None:
    """Raises CheckpointError, with a table of the tensors that do not fit the architecture."""
    wanted = network.state_dict()
    if not mismatches(wanted, state, {}):
        return  # nothing was trimmed, so nothing needs to be traced
    if found := mismatches(wanted, state, _free_axes(network, arguments)):
        raise CheckpointError(f"{str(path)!r} does not fit {model}: {summary(found, arguments)}", found)


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


def build_with(
    model: str, arguments: dict[str, int], state: dict[str, Tensor], widths: dict[str, int] | None = None,
    units: dict[str, int] | None = None,
) -> nn.Module:  # fmt: skip
    """`model` with the weights of `state`, at the widths that their shapes have, and with the maxout units `units`
    (layer -> neurons a unit). Raises CheckpointError."""
    network = _architecture(model, arguments)
    wanted = network.state_dict()
    if missing := sorted(set(wanted) - set(state)):
        raise CheckpointError(
            f"the weights lack {missing[0]!r} and {len(missing) - 1} more of {model}: another architecture?"
        )
    if extra := sorted(set(state) - set(wanted)):
        raise CheckpointError(
            f"the weights have {extra[0]!r} and {len(extra) - 1} more that {model} does not: another architecture?"
        )
    with torch.device("meta"):
        example = models.example_input(arguments)
    try:
        whole = trace(network, example)
        _give(network, whole, state, model)
        for name, width in (widths or {}).items():
            module = whole.parts[name].module if name in whole.parts else None
            if module is not None and _is_bare_norm(module) and 0 < width <= len(whole.parts[name].outputs):
                set_widths(module, {"out": width})
        insert(network, _maxout_modules(whole, units or {}))
        trace(network, example)
    except (NotTrimmable, SpecError) as error:
        raise CheckpointError(f"the weights do not fit each other: {error}") from None
    found = widths_of(network)
    for name, layer in whole.layers.items():
        if layer.width and found[name] != layer.width and not layer.trimmable:
            raise CheckpointError(f"{name!r} has {found[name]} neurons, not {layer.width}, in the weights for {model}")
    if widths is not None and widths != found:
        raise CheckpointError("the table of widths and the weights of the checkpoint disagree")
    return network


def _maxout_modules(whole: ChannelGraph, units: dict[str, int]) -> dict[str, int]:
    """The maxout modules behind layers: those that the architecture has, and those that grouping puts there."""
    places = groupable(whole) if units.keys() - whole.units.keys() else {}
    modules = {}
    for layer, k in units.items():
        if layer not in whole.units and layer not in places:
            raise CheckpointError(f"{layer!r} is no maxout layer, and cannot become one")
        modules[whole.units[layer].maxout if layer in whole.units else places[layer].maxout] = k
    return modules


def _architecture(model: str, arguments: dict[str, int]) -> nn.Module:
    """The untrimmed network, without memory for its weights."""
    try:
        return models.empty(model, **arguments)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{model} cannot be built with {arguments}: {first_line(error)}") from None


def _give(network: nn.Module, whole: ChannelGraph, state: dict[str, Tensor], model: str) -> None:
    """Put the weights into the network `whole` was traced from, and bring its modules to their widths."""
    roles_of = {id(tensor): (part, roles) for part in whole.parts.values() for _, tensor, roles in part.tensors()}
    sizes: dict[str, dict[str, int]] = {}  # part -> role -> length
    given: dict[int, Tensor] = {}  # weights that are shared stay shared
    for name, full in network.state_dict(keep_vars=True).items():
        part, roles = roles_of.get(id(full), (None, ()))
        tensor = state[name]
        _check_tensor(name, tensor, full, roles, model)
        for role, length in zip(roles, tensor.shape, strict=False):
            if role and sizes.setdefault(part.name, {}).setdefault(role, length) != length:
                raise CheckpointError(f"the weights do not fit each other: {name!r} has shape {tuple(tensor.shape)}")
        if id(full) not in given:
            copied = tensor.to(full.dtype, copy=True)  # weights saved in half precision work like others
            given[id(full)] = nn.Parameter(copied) if isinstance(full, nn.Parameter) else copied
        owner, _, key = name.rpartition(".")
        module = network.get_submodule(owner)
        (module._parameters if key in module._parameters else module._buffers)[key] = given[id(full)]
    for name, found in sizes.items():
        if whole.parts[name].kind != "scale" or isinstance(whole.parts[name].module, nn.PReLU):
            set_widths(whole.parts[name].module, found)


def _check_tensor(name: str, tensor: Tensor, full: Tensor, roles: tuple[str | None, ...], model: str) -> None:
    """Axes with a role may be shorter than in the full network."""
    if tensor.is_floating_point() != full.is_floating_point():
        raise CheckpointError(f"{name!r} holds {tensor.dtype}, {model} has {full.dtype}")
    pairs = list(zip(tensor.shape, full.shape, strict=False))
    fits = tensor.dim() == full.dim() and all(
        1 <= a <= b if axis < len(roles) and roles[axis] else a == b for axis, (a, b) in enumerate(pairs)
    )
    if not fits:
        raise CheckpointError(f"{name!r} has shape {tuple(tensor.shape)}, {model} has {tuple(full.shape)}")
