"""Progress events: how far a run is, as a fraction of all epochs that it will train."""

from typing import Any

from trimcore.runs.events import Event
from trimcore.spec import Spec
from trimcore.training.state import State


class Progress:
    """Makes the progress events of a run. `state` is its current state."""

    def __init__(self, spec: Spec, state: State):
        self.spec, self.state = spec, state

    @property
    def epochs(self) -> int:
        """All training epochs of the run, including the control's."""
        epochs = self.spec.base_epochs + self.state.convert_epochs + self.spec.retrain_epochs
        return epochs * 2 + self.state.inherited if self.spec.control.scratch and self.spec.step else epochs

    def trained(self, values: dict[str, Any], epochs_done: float, rate: float) -> Event:
        """The progress event after `epochs_done` epochs of the phase. `values` has phase, iteration, epoch, epochs,
        step and steps; `rate` is in images per second."""
        total, before = self.epochs or 1, self.state.spent
        fractions = {"fraction": min(1.0, (before + epochs_done) / total), "iteration_end": None}
        if values["phase"] != "control":  # the control belongs to no iteration
            epochs = (values["epochs"] or epochs_done) + (self.state.convert_epochs if values["phase"] == "base" else 0)
            fractions["iteration_end"] = min(1.0, (before + epochs) / total)
        return Event("progress", {**values, **fractions, "images_per_second": rate}, recorded=False)

    def measured(self, phase: str, seen: int, total: int, rate: float) -> Event:
        """The progress event after measuring `seen` of `total` examples."""
        number = {"phase": phase, "iteration": self.state.iteration, "epoch": None, "epochs": None}
        return self.trained({**number, "step": seen, "steps": total}, self.state.epoch, rate)
