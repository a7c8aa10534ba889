"""The first phase: train the base network, or use it as it is if the spec asks for 0 epochs."""

from collections.abc import Iterator

from trimcore.runs.events import Event
from trimcore.training.iteration import close_iteration
from trimcore.training.phases.conversion import begin_conversion
from trimcore.training.phases.training import train
from trimcore.training.run import Run


def train_base(run: Run) -> Iterator[Event]:
    """Train the base network. Its conversion comes next, if there is one; otherwise it becomes iteration 0."""
    yield from train(run, run.spec.base, run.spec.base_epochs, "base")
    if run.state.convert_epochs:
        yield begin_conversion(run)
        return
    if run.spec.convert_epochs:
        yield Event("note", {"text": "the network that this run starts from has already been converted"})
    yield from close_iteration(run)
