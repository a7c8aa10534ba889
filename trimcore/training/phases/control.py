"""The control experiment: does starting from the kept weights help at all?"""

import time
from collections.abc import Iterator

import torch

from trimcore.compute.seeds import derive_seed
from trimcore.runs.events import Event
from trimcore.surgery import magnitude
from trimcore.training.phases.training import train
from trimcore.training.run import Run


def train_control(run: Run) -> Iterator[Event]:
    """Train new weights at the final widths, for as many epochs as the trimmed network was trained. Weights that were
    held at zero are held at zero here too."""
    state = run.state
    if state.epoch == 0:
        state.optimizer, masks = None, magnitude.masks_of(state.network, state.sparse)
        torch.manual_seed(derive_seed(run.spec.seed, "control"))
        run.entry.renew(state.network, **state.arguments)
        magnitude.hold(state.network, masks)
    epochs, seconds = state.inherited + state.spent, time.perf_counter()
    yield from train(run, run.spec.base.model_copy(update={"patience": 0}), epochs, "control")
    test, validation = run.measure("test"), run.measure("validation")
    yield Event("control", {
        "parameters": sum(p.numel() for p in state.network.parameters()), "epochs": epochs,
        **run.metric.fields({"accuracy": test.value, "validation_accuracy": validation.value}), "loss": test.loss,
        "seconds": time.perf_counter() - seconds,
    })  # fmt: skip
    state.phase = "done"
