"""Where a run is, as plain values: how it begins, and how it goes on after an interruption."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trimcore import models
from trimcore.compute.seeds import derive_seed
from trimcore.data import Data
from trimcore.errors import CheckpointError, SpecError, TrimError, first_line
from trimcore.files import checkpoint
from trimcore.files.checkpoint import Checkpoint
from trimcore.layers import sharpened
from trimcore.runs import checkpoint_path
from trimcore.spec import Spec
from trimcore.surgery.reconstruction import widths_of


@dataclass
class State:
    """Where a run is. `phase` says what comes next: train the base, convert its activations, cut, retrain, or train the
    control."""

    network: nn.Module
    arguments: dict[str, int]
    origins: dict[str, list[int]]  # layer -> index in the base model of each neuron
    base: dict[str, int] = field(default_factory=dict)  # parameters and MACs of the base model
    phase: str = "base"  # base, convert, cut, retrain, control, done
    iteration: int = 0
    step: int = 0  # which [[step]], and how many of its iterations are done
    done: int = 0
    epoch: int = 0  # epochs done in this phase
    optimizer: dict[str, Any] | None = None
    row: dict[str, Any] = field(default_factory=dict)  # what is known so far of this iteration's row
    result: int = 0  # the iteration that is the run's result
    ended: str = ""  # why there are no more iterations
    spent: int = 0  # training epochs of all phases before this one
    inherited: int = 0  # epochs that the weights had before this run
    good: dict[str, Any] | None = None  # the result's checkpoint, where the control will want its widths
    teacher: dict[str, Any] | None = None  # the checkpoint of iteration 0, where retraining learns from it
    activations: str = ""  # "relu" once they are converted
    convert_epochs: int = 0  # of this run: none when its weights were converted already
    units: dict[str, int] = field(default_factory=dict)  # layers with maxout units -> k, 1 where the maximum is gone
    sparse: list[str] = field(default_factory=list)  # layers whose weights that are zero stay zero

    def checkpoint(self, model: str) -> Checkpoint:
        state = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
        widths = widths_of(self.network)
        epochs = self.inherited + self.spent + (self.epoch if self.phase != "control" else 0)
        origins = {name: list(kept) for name, kept in self.origins.items()}
        return Checkpoint(
            model, self.arguments, widths, state, origins, dict(self.base), self.iteration, epochs, self.activations,
            dict(self.units), list(self.sparse),
        )  # fmt: skip

    def snapshot(self, model: str) -> dict[str, Any]:
        """All of it as plain values and tensors, for `restore`. Training on does not change it."""
        plain = copy.deepcopy({key: value for key, value in vars(self).items() if key != "network"})
        return {**plain, "checkpoint": vars(self.checkpoint(model))}


def restore(snapshot: dict[str, Any]) -> State:
    """The state that a snapshot was taken of. Raises CheckpointError when the snapshot is damaged."""
    try:
        values = copy.deepcopy({key: value for key, value in snapshot.items() if key not in ("checkpoint", "format")})
        return State(network=Checkpoint(**snapshot["checkpoint"]).build(), **values)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the resume point is damaged: {first_line(error)}") from None


def first_state(spec: Spec, data: Data, runs: Path | None) -> State:
    """The base network of a spec: from a parent run, a checkpoint, pretrained weights, or with new weights.

    Raises SpecError or CheckpointError when it cannot be had or does not fit the data.
    """
    shape = {"num_classes": data.num_classes, "in_channels": data.channels, "image_size": data.image_size}
    arguments = {**shape, **models.options_for(spec.model, spec.options)}
    if spec.parent:
        if runs is None:
            raise SpecError("a spec with a parent needs the runs folder in which to find it")
        found = checkpoint.load(checkpoint_path(Path(runs) / spec.parent.run, spec.parent.iteration))
        if (found.model, found.arguments) != (spec.model, arguments):
            raise SpecError(f"iteration {spec.parent.iteration} of {spec.parent.run} is a {found.model} for other data")
    elif spec.base.weights == "pretrained":
        found = _pretrained(spec.model, arguments)
    elif spec.base.weights:
        found = checkpoint.load_weights(spec.base.weights, spec.model, arguments)
    else:
        torch.manual_seed(derive_seed(spec.seed, "weights"))
        network = models.build(spec.model, **arguments)
        return State(network, arguments, identity(network), convert_epochs=_to_convert(spec, network, ""))
    network = found.build()
    if found.arguments != arguments:
        have, want = checkpoint.in_words(found.arguments), checkpoint.in_words(arguments)
        raise CheckpointError(f"the weights are for {have}; {spec.data} has {want}")
    origins = {**identity(network), **found.origins}
    return State(
        network, arguments, origins, dict(found.base), inherited=found.epochs, activations=found.activations,
        convert_epochs=0 if found.units else _to_convert(spec, network, found.activations), units=dict(found.units),
        sparse=list(found.sparse),
    )  # fmt: skip


def _to_convert(spec: Spec, network: nn.Module, activations: str) -> int:
    """The epochs of conversion. Raises SpecError when ReLU is asked for and the network has nothing to convert."""
    if not spec.convert_epochs or activations:
        return 0
    if spec.convert.to == "relu":
        sharpened.check(network, spec.model)
    return spec.convert_epochs


def _pretrained(model: str, arguments: dict[str, int]) -> Checkpoint:
    entry = models.architecture(model)
    torch.manual_seed(0)  # new outputs are the same in every run
    if entry.pretrained is None:
        raise SpecError(f"there are no pretrained weights for {model}; give a checkpoint file or train")
    try:
        state = entry.pretrained()
    except (OSError, RuntimeError) as error:
        raise TrimError(f"the pretrained weights of {model} cannot be had: {first_line(error)}") from None
    state = _with_own_classes(model, arguments, state)
    return Checkpoint(model, arguments, widths_of_state(model, arguments, state), state)


def _with_own_classes(model: str, arguments: dict[str, int], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Where the data have other classes than the pretrained weights, the output layer gets new weights."""
    fitted = dict(state)
    for name, wanted in models.empty(model, **arguments).state_dict().items():
        tensor = state.get(name)
        if tensor is not None and tensor.shape != wanted.shape and tensor.shape[1:] == wanted.shape[1:]:
            fitted[name] = torch.randn(wanted.shape) * 0.01 if wanted.dim() > 1 else torch.zeros(wanted.shape)
    return fitted


def identity(network: nn.Module) -> dict[str, list[int]]:
    """Each neuron's index, for a network that nothing was cut from yet."""
    return {name: list(range(width)) for name, width in widths_of(network).items()}


def widths_of_state(model: str, arguments: dict[str, int], state: dict[str, Any]) -> dict[str, int]:
    """The widths that the weights have, without building the network."""
    layers = widths_of(models.empty(model, **arguments))
    return {name: len(state[f"{name}.weight"]) for name in layers if f"{name}.weight" in state}
