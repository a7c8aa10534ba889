"""Checkpoints: weights and a table of widths, never a pickled class. Readable with `torch.load(weights_only=True)`.

A network is rebuilt from its name: the architecture is made on the meta device, brought to the widths of the file, and
given the weights.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from trimcore import models
from trimcore.errors import CheckpointError, NotTrimmable, first_line
from trimcore.surgery import set_widths
from trimcore.tracing import trace

FORMAT = 1
LARGEST = 100_000  # classes, channels or pixels that a checkpoint may ask to be built for
ARGUMENTS = ["image_size", "in_channels", "num_classes"]


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

    def build(self) -> nn.Module:
        """The network, in training mode, on the CPU. Raises CheckpointError when file and architecture disagree."""
        return build_with(self.model, self.arguments, self.state, self.widths)


def in_words(arguments: dict[str, int]) -> str:
    return "{num_classes} classes, {in_channels} channels, {image_size} pixels".format(**arguments)


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
    except Exception as error:  # noqa: BLE001 (there is no end to what damaged bytes make the unpickler raise)
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
        found = Checkpoint(**{key: value for key, value in content.items() if key != "format"})
    except TypeError as error:
        raise CheckpointError(f"{str(path)!r} lacks or adds an entry: {first_line(error)}") from None
    for key, value in vars(found).items():
        if not isinstance(value, {"model": str, "iteration": int, "epochs": int}.get(key, dict)):
            raise CheckpointError(f"{str(path)!r} has a {type(value).__name__} as its {key!r}")
    if sorted(found.arguments) != ARGUMENTS or not all(
        type(n) is int and 0 < n <= LARGEST for n in found.arguments.values()
    ):
        raise CheckpointError(f"{str(path)!r} has the arguments {found.arguments}, not numbers for {ARGUMENTS}")
    _check_tensors(path, found.state)
    return found


def _check_tensors(path: str | Path, state) -> None:
    plain = isinstance(state, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    if not plain:
        raise CheckpointError(f"{str(path)!r} does not hold tensors by name, as a state dict does")


def load_weights(path: str | Path, model: str, arguments: dict[str, int]) -> Checkpoint:
    """Weights for `model` from a checkpoint of this tool, a plain state dict, or a safetensors file.

    Raises CheckpointError for what is no such file or does not fit `model` and its `arguments`.
    """
    content = _read_safetensors(path) if Path(path).suffix == ".safetensors" else read(path)
    if "format" in content and "state" in content:
        found = load(path)
        if found.model != model:
            raise CheckpointError(f"{str(path)!r} holds a {found.model}, not a {model}")
        if found.arguments != arguments:  # before anything is built: a file may ask for a network of any size
            have, want = in_words(found.arguments), in_words(arguments)
            raise CheckpointError(f"{str(path)!r} is for {have}; wanted are {want}")
        found.build()
        return found
    state = content.get("state_dict", content)
    _check_tensors(path, state)
    return Checkpoint(model, arguments, widths_of(build_with(model, arguments, state)), state)


def build_with(model: str, arguments: dict[str, int], state: dict[str, Tensor], widths: dict[str, int] | None = None):
    """`model` with the weights of `state`, at the widths that their shapes have. Raises CheckpointError."""
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
        for name, module in network.named_modules():
            _give(name, module, state, wanted, model)
        trace(network, example)
    except NotTrimmable as error:
        raise CheckpointError(f"the weights do not fit each other: {error}") from None
    found = widths_of(network)
    for name, layer in whole.layers.items():
        if found[name] != layer.width and not layer.trimmable:
            raise CheckpointError(f"{name!r} has {found[name]} neurons, not {layer.width}, in the weights for {model}")
    if widths is not None and widths != found:
        raise CheckpointError("the table of widths and the weights of the checkpoint disagree")
    return network


def _architecture(model: str, arguments: dict[str, int]) -> nn.Module:
    """The untrimmed network, without memory unless it has buffers that no state dict holds."""
    try:
        network = models.empty(model, **arguments)
        held = network.state_dict(keep_vars=True).values()
        if {id(buffer) for buffer in network.buffers()} - {id(tensor) for tensor in held}:
            return models.build(model, **arguments)
        return network
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{model} cannot be built with {arguments}: {first_line(error)}") from None


def _kind(module: nn.Module) -> str | None:
    """The kind of a module whose widths may change."""
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return "norm"
    if isinstance(module, nn.modules.conv._ConvNd) and module.groups in (1, module.in_channels):
        return "conv" if module.groups == 1 else "depthwise"
    return None


def _give(name: str, module: nn.Module, state: dict[str, Tensor], wanted: dict[str, Tensor], model: str) -> None:
    """Put the weights into one module, and bring it to their width."""
    prefix, kind = f"{name}." if name else "", _kind(module)
    held = {key: t for t_of in (module._parameters, module._buffers) for key, t in t_of.items() if t is not None}
    own = {key: state[prefix + key] for key in held if prefix + key in wanted}
    for key, tensor in own.items():
        full, free = wanted[prefix + key], 2 if kind else 0  # so many axes may be shorter than in the full network
        if tensor.is_floating_point() != full.is_floating_point():
            raise CheckpointError(f"{prefix + key!r} holds {tensor.dtype}, {model} has {full.dtype}")
        fits = tensor.dim() == full.dim() and tensor.shape[free:] == full.shape[free:]
        if not fits or any(a > b or a < 1 for a, b in zip(tensor.shape[:free], full.shape[:free], strict=True)):
            raise CheckpointError(f"{prefix + key!r} has shape {tuple(tensor.shape)}, {model} has {tuple(full.shape)}")
        into = module._parameters if key in module._parameters else module._buffers
        copied = tensor.to(full.dtype, copy=True)  # weights saved in half precision work like others
        into[key] = nn.Parameter(copied) if key in module._parameters else copied
    lengths = {key: len(tensor) for key, tensor in own.items() if tensor.dim()}
    if kind and lengths:
        if len(set(lengths.values())) > 1:
            raise CheckpointError(f"the weights do not fit each other: {name} has lengths {lengths}")
        inputs = own["weight"].shape[1] if kind in ("conv", "linear") else None
        set_widths(module, kind, next(iter(lengths.values())), inputs)


def _read_safetensors(path: str | Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{str(path)!r} is not a safetensors file: {first_line(error)}") from None
