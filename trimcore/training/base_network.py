"""The network that a run begins with: new, pretrained, from a file, or from an iteration of another run."""

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


def first_state(spec: Spec, entry: Architecture, arguments: dict[str, int], runs_folder: Path | None) -> State:
    """The state at the beginning of a run. `arguments` are those that the base model is built with.

    Raises SpecError or CheckpointError when the network cannot be had or does not fit the data.
    """
    if spec.parent:
        found = _of_parent(spec, arguments, runs_folder)
    elif spec.base.weights == "pretrained":
        found = _pretrained(entry, spec.model, arguments)
    elif spec.base.weights:
        found = checkpoint.load_weights(spec.base.weights, spec.model, arguments)
    else:
        torch.manual_seed(derive_seed(spec.seed, "weights"))
        network = entry.build(**arguments)
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


def identity(network: nn.Module) -> dict[str, list[int]]:
    """Each neuron's index, for a network that nothing was cut from yet."""
    return {name: list(range(width)) for name, width in widths_of(network).items()}


def _of_parent(spec: Spec, arguments: dict[str, int], runs_folder: Path | None) -> Checkpoint:
    assert spec.parent is not None  # or nobody would have asked
    if runs_folder is None:
        raise SpecError("a spec with a parent needs the runs folder in which to find it")
    run, iteration = spec.parent.run, spec.parent.iteration
    found = checkpoint.load(runs.checkpoint_path(Path(runs_folder) / run, iteration))
    if (found.model, found.arguments) != (spec.model, arguments):
        raise SpecError(f"iteration {iteration} of {run} is a {found.model} for other data")
    return found


def _pretrained(entry: Architecture, model: str, arguments: dict[str, int]) -> Checkpoint:
    torch.manual_seed(0)  # new outputs are the same in every run
    if entry.pretrained is None:
        raise SpecError(f"there are no pretrained weights for {model}; give a checkpoint file or train")
    try:
        state = entry.pretrained()
    except (OSError, RuntimeError) as error:
        raise TrimError(f"the pretrained weights of {model} cannot be had: {first_line(error)}") from None
    empty = entry.empty(**arguments)
    state = _with_own_classes(empty, state)
    widths = {name: len(state[f"{name}.weight"]) for name in widths_of(empty) if f"{name}.weight" in state}
    return Checkpoint(model, arguments, widths, state)


def _with_own_classes(empty: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Where the data have other classes than the pretrained weights, the output layer gets new weights."""
    fitted = dict(state)
    for name, wanted in empty.state_dict().items():
        tensor = state.get(name)
        if tensor is not None and tensor.shape != wanted.shape and tensor.shape[1:] == wanted.shape[1:]:
            fitted[name] = torch.randn(wanted.shape) * 0.01 if wanted.dim() > 1 else torch.zeros(wanted.shape)
    return fitted


def _to_convert(spec: Spec, network: nn.Module, activations: str) -> int:
    """The epochs of conversion. Raises SpecError when ReLU is asked for and the network has nothing to convert."""
    if not spec.convert_epochs or activations:
        return 0
    if spec.convert.to == "relu":
        sharpened.check(network, spec.model)
    return spec.convert_epochs
