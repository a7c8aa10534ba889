"""The network that a run starts from: new, pretrained, from a file, or from an iteration of another run."""

from pathlib import Path

import torch
from torch import Tensor, nn

from trimcore import runs
from trimcore.compute.seeds import derive_seed
from trimcore.errors import CheckpointError, SpecError, TrimError, first_line
from trimcore.files import checkpoint
from trimcore.files.checkpoint import Checkpoint
from trimcore.layers import sharpened
from trimcore.models import Architecture
from trimcore.spec import Spec
from trimcore.surgery.reconstruction import widths_of
from trimcore.training.state import State


def initial_state(
    spec: Spec, entry: Architecture, arguments: dict[str, int], runs_folder: Path | None
) -> tuple[State, list[str]]:
    """The initial state of a run, and readable notes on what was changed in the file of its weights. `arguments` are
    the builder arguments of the base model.

    Raises TrimError (or a subclass) if the network is unavailable or does not fit the data.
    """
    notes: list[str] = []
    if spec.parent:
        found = _from_parent(spec, arguments, runs_folder)
    elif spec.base.weights == "pretrained":
        found = _pretrained(entry, spec.model, arguments)
    elif spec.base.weights:
        found, notes = checkpoint.find_weights(spec.base.weights, spec.model, arguments, new_head=bool(spec.base.head))
    else:
        torch.manual_seed(derive_seed(spec.seed, "weights"))
        network = entry.build(**arguments)
        return State(network, arguments, identity(network), convert_epochs=_to_convert(spec, network, "")), notes
    network = found.build()
    if found.arguments != arguments:
        have, want = checkpoint.describe_arguments(found.arguments), checkpoint.describe_arguments(arguments)
        raise CheckpointError(f"the weights are for {have}, but {spec.data} needs {want}")
    origins = {**identity(network), **found.origins}
    state = State(
        network, arguments, origins, dict(found.base), inherited=found.epochs, activations=found.activations,
        convert_epochs=0 if found.units else _to_convert(spec, network, found.activations), units=dict(found.units),
        sparse=list(found.sparse),
    )  # fmt: skip
    return state, notes


def identity(network: nn.Module) -> dict[str, list[int]]:
    """Each neuron's own index: the origins of an uncut network."""
    return {name: list(range(width)) for name, width in widths_of(network).items()}


def _from_parent(spec: Spec, arguments: dict[str, int], runs_folder: Path | None) -> Checkpoint:
    assert spec.parent is not None  # checked by the caller
    if runs_folder is None:
        raise SpecError("a spec with a parent needs the runs folder that contains it: pass runs=")
    run, iteration = spec.parent.run, spec.parent.iteration
    found = checkpoint.load(runs.checkpoint_of(Path(runs_folder), run, iteration))
    if (found.model, found.arguments) != (spec.model, arguments):
        raise SpecError(f"iteration {iteration} of {run} is a {found.model} with other options or for other data")
    return found


def _pretrained(entry: Architecture, model: str, arguments: dict[str, int]) -> Checkpoint:
    torch.manual_seed(0)  # a new output layer has the same weights in every run
    if entry.pretrained is None:
        raise SpecError(f"{model} has no pretrained weights; give a checkpoint file, or train it")
    try:
        state = entry.pretrained()
    except (OSError, RuntimeError) as error:
        raise TrimError(f"cannot get the pretrained weights of {model}: {first_line(error)}") from None
    empty = entry.empty(**arguments)
    state = _with_own_classes(empty, state)
    return Checkpoint(model, arguments, widths_of(empty), state)


def _with_own_classes(empty: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The pretrained weights, with a new output layer if the data have a different number of classes."""
    fitted = dict(state)
    for name, target in empty.state_dict().items():
        tensor = state.get(name)
        if tensor is not None and tensor.shape != target.shape and tensor.shape[1:] == target.shape[1:]:
            fitted[name] = torch.randn(target.shape) * 0.01 if target.dim() > 1 else torch.zeros(target.shape)
    return fitted


def _to_convert(spec: Spec, network: nn.Module, activations: str) -> int:
    """The number of conversion epochs. Raises SpecError if the target is ReLU and there is nothing to convert."""
    if not spec.convert_epochs or activations:
        return 0
    if spec.convert.to == "relu":
        sharpened.check(network, spec.model)
    return spec.convert_epochs
