"""Checkpoints: weights and a table of widths, never a pickled class. Readable with `torch.load(weights_only=True)`.

A network is rebuilt from its name: the architecture is made on the meta device, brought to the widths of the file, and
given the weights.
"""

import os
import pickle
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from trimcore import models
from trimcore.errors import CheckpointError, NotTrimmable
from trimcore.graph import trace
from trimcore.surgery import set_widths

FORMAT = 1


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

    def build(self) -> nn.Module:
        """The network, in training mode, on the CPU. Raises CheckpointError when file and architecture disagree."""
        return build_with(self.model, self.arguments, self.state, self.widths)


def widths_of(model: nn.Module) -> dict[str, int]:
    """Neurons of every convolution and linear layer, by name."""
    return {
        name: m.weight.shape[0]
        for name, m in model.named_modules()
        if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)
    }


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


def read(path: str | Path) -> dict:
    """The content of a `.pt` file, without executing anything in it. Raises CheckpointError."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {str(path)!r}") from None
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{str(path)!r} is not a checkpoint of plain weights: {first_line(error)}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{str(path)!r} holds a {type(content).__name__}, not weights by name")
    return content


def load(path: str | Path) -> Checkpoint:
    """A checkpoint written by `save`. Raises CheckpointError."""
    content = read(path)
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{str(path)!r} is no checkpoint of this tool (format {content.get('format')!r}, not {FORMAT})"
        )
    try:
        return Checkpoint(**{key: value for key, value in content.items() if key != "format"})
    except TypeError as error:
        raise CheckpointError(f"{str(path)!r} lacks or adds an entry: {first_line(error)}") from None


def load_weights(path: str | Path, model: str, arguments: dict[str, int]) -> Checkpoint:
    """Weights for `model` from a checkpoint of this tool, a plain state dict, or a safetensors file."""
    content = _read_safetensors(path) if Path(path).suffix == ".safetensors" else read(path)
    if "format" in content and "state" in content:
        found = load(path)
        if found.model != model:
            raise CheckpointError(f"{str(path)!r} holds a {found.model}, not a {model}")
        return found
    state = content.get("state_dict", content)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{str(path)!r} does not hold tensors by name, as a state dict does")
    return Checkpoint(model, arguments, widths_of(build_with(model, arguments, state)), state)


def build_with(model: str, arguments: dict[str, int], state: dict[str, Tensor], widths: dict[str, int] | None = None):
    """`model` with the weights of `state`, at the widths that their shapes have."""
    network = models.empty(model, **arguments)
    wanted = network.state_dict()
    if missing := sorted(set(wanted) - set(state)):
        raise CheckpointError(
            f"the weights lack {missing[0]!r} and {len(missing) - 1} more of {model}: another architecture?"
        )
    if extra := sorted(set(state) - set(wanted)):
        raise CheckpointError(
            f"the weights have {extra[0]!r} and {len(extra) - 1} more that {model} does not: another architecture?"
        )
    for name, tensor in state.items():
        full = wanted[name].shape
        fits = len(tensor.shape) == len(full) and tensor.shape[2:] == full[2:]
        if not fits or any(a > b or a < 1 for a, b in zip(tensor.shape[:2], full[:2], strict=True)):
            raise CheckpointError(f"{name!r} has shape {tuple(tensor.shape)}, {model} has {tuple(full)}")
    for name, module in network.named_modules():
        weight = state.get(f"{name}.weight")
        if weight is None:
            continue
        if isinstance(module, nn.Linear):
            set_widths(module, "linear", weight.shape[0], weight.shape[1])
        elif isinstance(module, nn.modules.conv._ConvNd) and module.groups == 1:
            set_widths(module, "conv", weight.shape[0], weight.shape[1])
        elif isinstance(module, nn.modules.conv._ConvNd):
            set_widths(module, "depthwise", weight.shape[0], None)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            set_widths(module, "norm", weight.shape[0], None)
    for name, tensor in state.items():
        owner, _, key = name.rpartition(".")
        owner = network.get_submodule(owner)
        held = owner._parameters if key in owner._parameters else owner._buffers
        held[key] = nn.Parameter(tensor.clone()) if key in owner._parameters else tensor.clone()
    if widths is not None and widths != widths_of(network):
        raise CheckpointError("the table of widths and the weights of the checkpoint disagree")
    try:
        trace(network, models.example_input(arguments))
    except NotTrimmable as error:
        raise CheckpointError(f"the weights do not fit each other: {error}") from None
    return network


def _read_safetensors(path: str | Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{str(path)!r} is not a safetensors file: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
