"""How far a run is: progress events, as shares of all epochs that it will train."""

from typing import Any

from trimcore.runs.events import Event
from trimcore.spec import Spec
from trimcore.training.state import State


class Progress:
    """The progress events of a run. `state` says where the run is."""

    def __init__(self, spec: Spec, state: State):
        self.spec, self.state = spec, state

    @property
    def epochs(self) -> int:
        """All training epochs of the run, the control's among them."""
        epochs = self.spec.base_epochs + self.state.convert_epochs + self.spec.retrain_epochs
        return epochs * 2 + self.state.inherited if self.spec.control.scratch and self.spec.step else epochs

    def trained(self, values: dict[str, Any], epochs_done: float, rate: float) -> Event:
        """`values` are phase, iteration, epoch, epochs, step and steps; so many epochs of the phase are done, at `rate`
        images a second."""
        whole, before = self.epochs or 1, self.state.spent
        places = {"fraction": min(1.0, (before + epochs_done) / whole), "iteration_end": None}
        if values["phase"] != "control":  # which belongs to no iteration
            epochs = (values["epochs"] or epochs_done) + (self.state.convert_epochs if values["phase"] == "base" else 0)
            places["iteration_end"] = min(1.0, (before + epochs) / whole)
        return Event("progress", {**values, **places, "images_per_second": rate}, recorded=False)

    def measured(self, phase: str, seen: int, total: int, rate: float) -> Event:
        """`seen` of `total` examples have been measured."""
        number = {"phase": phase, "iteration": self.state.iteration, "epoch": None, "epochs": None}
        return self.trained({**number, "step": seen, "steps": total}, self.state.epoch, rate)
