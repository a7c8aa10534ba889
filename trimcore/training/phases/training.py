"""The epochs of one phase: train, measure and report each."""

import time
from collections.abc import Callable, Iterator

from torch.optim.swa_utils import AveragedModel

from trimcore.compute import distributed
from trimcore.compute.seeds import derive_seed
from trimcore.evaluation.accuracy import evaluate
from trimcore.runs.events import Event
from trimcore.spec import Training
from trimcore.surgery import magnitude
from trimcore.training.averaging import averaged
from trimcore.training.best import better, is_over, outcome_text
from trimcore.training.epoch import Batch, EpochResult, train_epoch
from trimcore.training.losses import Loss
from trimcore.training.optimizer import make_optimizer
from trimcore.training.run import Run


def train(
    run: Run, settings: Training, epochs: int, phase: str, *, loss_of: Loss | None = None,
    before_step: Callable[[int, int], None] | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Train the network from the current epoch up to `epochs`. Weights that are held at zero stay zero.

    Afterwards, the network has the weights of the last epoch or of the best one, or their average, as `settings` say.
    `before_step(step, steps)` is called before each step, both counted over all epochs of the phase.
    """
    state = run.state
    optimizer = make_optimizer(state.network, settings)
    if state.optimizer is not None:
        optimizer.load_state_dict(state.optimizer)
    average = averaged(state.network, settings.ema, state.average) if settings.ema else None
    measured = average.module if average else state.network
    after_step = _after_step(run, average)
    seed, rate = derive_seed(run.spec.seed, phase, state.iteration), 0.0
    with distributed.data_parallel(state.network, run.device) as network:
        for epoch in range(state.epoch, epochs):
            if is_over(settings, state.best, epoch):
                break
            number = {"phase": phase, "iteration": state.iteration, "epoch": epoch + 1, "epochs": epochs}
            begin, training = time.perf_counter(), train_epoch(
                network, optimizer, run.data, settings, run.device, epoch=epoch, epochs=epochs, seed=seed,
                task=run.task, loss_of=loss_of, before_step=before_step, after_step=after_step,
            )  # fmt: skip
            for result in training:
                if isinstance(result, Batch):
                    rate = result.step * settings.batch_size / (time.perf_counter() - begin)
                    done, steps = epoch + result.step / result.steps, {"step": result.step, "steps": result.steps}
                    yield run.progress.trained({**number, **steps}, done, rate)
            assert isinstance(result, EpochResult)  # always the last
            validation = evaluate(measured, run.data.validation, run.data, run.device, run.task)
            state.epoch, state.optimizer = epoch + 1, optimizer.state_dict()
            state.average = average.state_dict() if average else None
            if settings.keep == "best" or settings.patience:
                state.best = better(state.best, epoch + 1, validation.value, measured, run.metric)
            state.row["seconds"] = state.row.get("seconds", 0.0) + time.perf_counter() - begin
            yield Event("epoch", {
                **number, "loss": result.loss, "lr": result.lr,
                **run.metric.fields({"accuracy": result.accuracy, "validation_accuracy": validation.value}),
                "images_per_second": result.images_per_second, "seconds": result.seconds,
            }, payload=run.snapshot)  # fmt: skip
    yield from _finish(run, settings, average, epochs)


def _after_step(run: Run, average: AveragedModel | None) -> Callable[[], None] | None:
    """What follows each update of the weights: hold zeros, then move the average."""
    network, sparse = run.state.network, run.state.sparse
    hold = magnitude.hold(network, magnitude.masks_of(network, sparse)) if sparse else None
    if average is None:
        return hold

    def after() -> None:
        if hold:
            hold()
        average.update_parameters(network)

    return after


def _finish(run: Run, settings: Training, average: AveragedModel | None, epochs: int) -> Iterator[Event]:
    """Give the network the weights that the phase ends with."""
    state, best = run.state, run.state.best
    if best and settings.keep == "best":
        state.network.load_state_dict(best["weights"])
    elif average and state.average:
        state.network.load_state_dict(average.module.state_dict())
    state.best = state.average = None
    if best and (text := outcome_text(settings, best, state.epoch, epochs, run.metric)):
        yield Event("note", {"text": text})
