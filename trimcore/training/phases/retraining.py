"""Retrain from the kept weights after a cut."""

from collections.abc import Iterator

from trimcore.compute.device import place
from trimcore.files.checkpoint import Checkpoint
from trimcore.runs.events import Event
from trimcore.training.distillation import Loss, cross_entropy, distillation_loss
from trimcore.training.iteration import close_iteration
from trimcore.training.phases.training import train
from trimcore.training.run import Run


def retrain(run: Run) -> Iterator[Event]:
    """Retrain, then close the iteration."""
    settings = run.spec.retrain_after(run.spec.step[run.state.step])
    yield from train(run, settings, settings.epochs, "retrain", loss_of=_loss(run))
    yield from close_iteration(run)


def _loss(run: Run) -> Loss:
    """The loss of the current step, with distillation if the step asks for it."""
    settings, teacher = run.spec.distill_after(run.spec.step[run.state.step]), run.state.teacher
    if not teacher or not settings.weight:
        return cross_entropy
    return distillation_loss(place(Checkpoint(**teacher).build(), run.device), settings, run.device)
