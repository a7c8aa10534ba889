"""The state of a run as plain values, so that the run can resume after an interruption."""

import copy
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from trimcore.errors import CheckpointError, first_line
from trimcore.files.checkpoint import Checkpoint
from trimcore.surgery.reconstruction import widths_of


@dataclass
class State:
    """The state of a run. `phase` says what comes next: train the base, convert its activations, cut, retrain, or train
    the control."""

    network: nn.Module
    arguments: dict[str, int]
    origins: dict[str, list[int]]  # layer -> index of each neuron in the base model
    base: dict[str, int] = field(default_factory=dict)  # parameters and MACs of the base model
    phase: str = "base"  # base, convert, cut, retrain, control, done
    iteration: int = 0
    step: int = 0  # index of the current [[step]]
    done: int = 0  # iterations of that step already done
    epoch: int = 0  # epochs done in this phase
    optimizer: dict[str, Any] | None = None
    average: dict[str, Any] | None = None  # of the weights in this phase, see `training.averaging`
    best: dict[str, Any] | None = None  # the best epoch of this phase, see `training.best`
    row: dict[str, Any] = field(default_factory=dict)  # the part of this iteration's row that is known so far
    result: int = 0  # the iteration that is the run's result
    ended: str = ""  # why there are no more iterations
    spent: int = 0  # training epochs of all earlier phases
    inherited: int = 0  # epochs that the weights were trained before this run
    good: dict[str, Any] | None = None  # the result's checkpoint, if the control will need its widths
    teacher: dict[str, Any] | None = None  # the checkpoint of iteration 0, if retraining distils from it
    activations: str = ""  # "relu" after their conversion
    convert_epochs: int = 0  # of this run: 0 if its weights were already converted
    units: dict[str, int] = field(default_factory=dict)  # layers with maxout units -> k, 1 once the maximum is gone
    sparse: list[str] = field(default_factory=list)  # layers whose zero weights stay zero

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
        """The whole state as plain values and tensors, for `restore`. Further training does not change it."""
        plain = copy.deepcopy({key: value for key, value in vars(self).items() if key != "network"})
        return {**plain, "checkpoint": vars(self.checkpoint(model))}


def restore(snapshot: dict[str, Any]) -> State:
    """Rebuild the state from a snapshot. Raises CheckpointError if the snapshot is damaged."""
    try:
        values = copy.deepcopy({key: value for key, value in snapshot.items() if key not in ("checkpoint", "format")})
        return State(network=Checkpoint(**snapshot["checkpoint"]).build(), **values)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the resume point is damaged: {first_line(error)}") from None
