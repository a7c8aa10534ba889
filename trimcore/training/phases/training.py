"""The epochs of one phase: train, measure and report each."""

import time
from collections.abc import Callable, Iterator

from trimcore.compute import distributed
from trimcore.compute.seeds import derive_seed
from trimcore.evaluation.accuracy import evaluate
from trimcore.runs.events import Event
from trimcore.spec import Training
from trimcore.surgery import magnitude
from trimcore.training.distillation import Loss, cross_entropy
from trimcore.training.epoch import Batch, EpochResult, make_optimizer, train_epoch
from trimcore.training.run import Run


def train(
    run: Run, settings: Training, epochs: int, phase: str, *, loss_of: Loss = cross_entropy,
    before_step: Callable[[int, int], None] | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Train the network from the current epoch up to `epochs`. Weights that are held at zero stay zero.

    `before_step(step, steps)` is called before each step, both counted over all epochs of the phase.
    """
    state = run.state
    optimizer = make_optimizer(state.network, settings)
    if state.optimizer is not None:
        optimizer.load_state_dict(state.optimizer)
    seed, rate = derive_seed(run.spec.seed, phase, state.iteration), 0.0
    hold = magnitude.hold(state.network, magnitude.masks_of(state.network, state.sparse)) if state.sparse else None
    with distributed.data_parallel(state.network, run.device) as network:
        for epoch in range(state.epoch, epochs):
            number = {"phase": phase, "iteration": state.iteration, "epoch": epoch + 1, "epochs": epochs}
            begin, training = time.perf_counter(), train_epoch(
                network, optimizer, run.data, settings, run.device, epoch=epoch, epochs=epochs, seed=seed,
                loss_of=loss_of, before_step=before_step, after_step=hold,
            )  # fmt: skip
            for result in training:
                if isinstance(result, Batch):
                    rate = result.step * settings.batch_size / (time.perf_counter() - begin)
                    done, steps = epoch + result.step / result.steps, {"step": result.step, "steps": result.steps}
                    yield run.progress.trained({**number, **steps}, done, rate)
            assert isinstance(result, EpochResult)  # always the last
            validation = evaluate(state.network, run.data.validation, run.data, run.device)
            state.epoch, state.optimizer = epoch + 1, optimizer.state_dict()
            state.row["seconds"] = state.row.get("seconds", 0.0) + time.perf_counter() - begin
            yield Event("epoch", {
                **number, "loss": result.loss, "accuracy": result.accuracy, "lr": result.lr,
                "validation_accuracy": validation.accuracy,
                "images_per_second": result.images_per_second, "seconds": result.seconds,
            }, payload=run.snapshot)  # fmt: skip
