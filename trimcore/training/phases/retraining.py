"""Retrain from the kept weights after a cut."""

from collections.abc import Iterator

from trimcore.compute.layout import place
from trimcore.files.checkpoint import Checkpoint
from trimcore.runs.events import Event
from trimcore.spec import Training
from trimcore.training.distillation import distillation_loss
from trimcore.training.iteration import close_iteration
from trimcore.training.losses import Loss, supervised_loss
from trimcore.training.phases.training import train
from trimcore.training.run import Run


def retrain(run: Run) -> Iterator[Event]:
    """Retrain, then close the iteration."""
    settings = run.spec.retrain_after(run.spec.step[run.state.step])
    yield from train(run, settings, settings.epochs, "retrain", loss_of=_loss(run, settings))
    yield from close_iteration(run)


def _loss(run: Run, training: Training) -> Loss | None:
    """The loss of the current step if it asks for distillation."""
    settings, teacher = run.spec.distill_after(run.spec.step[run.state.step]), run.state.teacher
    if not teacher or not settings.weight:
        return None
    network = place(Checkpoint(**teacher).build(), run.device, run.example)
    return distillation_loss(network, settings, run.device, supervised_loss(training, run.data, run.device))
