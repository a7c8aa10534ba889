"""Retraining from the kept weights, after a cut."""

from collections.abc import Iterator

from trimcore.compute.device import place
from trimcore.files.checkpoint import Checkpoint
from trimcore.runs.events import Event
from trimcore.training.distillation import Loss, cross_entropy, learning_from
from trimcore.training.iteration import close_iteration
from trimcore.training.phases.training import train
from trimcore.training.run import Run


def retrain(run: Run) -> Iterator[Event]:
    """Then the iteration is closed."""
    settings = run.spec.retrain_after(run.spec.step[run.state.step])
    yield from train(run, settings, settings.epochs, "retrain", loss_of=_loss(run))
    yield from close_iteration(run)


def _loss(run: Run) -> Loss:
    """With the teacher, if the step has one."""
    settings, teacher = run.spec.distill_after(run.spec.step[run.state.step]), run.state.teacher
    if not teacher or not settings.weight:
        return cross_entropy
    return learning_from(place(Checkpoint(**teacher).build(), run.device), settings, run.device)
