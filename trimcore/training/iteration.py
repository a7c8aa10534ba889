"""The end of an iteration: measure and profile its network, report its row, and decide how to continue."""

import time
from collections.abc import Iterator

from trimcore.compute import distributed
from trimcore.compute.device import place
from trimcore.evaluation.accuracy import Measure
from trimcore.files.checkpoint import Checkpoint
from trimcore.runs.events import Event
from trimcore.training.run import Run


def close_iteration(run: Run) -> Iterator[Event]:
    """Close the iteration. A cut comes next, unless the accuracy has fallen too low."""
    state, begin = run.state, time.perf_counter()
    distributed.check_in_sync(state.network)
    test, validation = run.measure("test"), run.measure("validation")
    yield from run.profile()
    verified = yield from run.measurement.verified(state, run.graph)
    made = state.checkpoint(run.spec.model)
    row = {
        "iteration": state.iteration,
        "layers_trimmed": state.row.get("layers_trimmed", []),
        "accuracy_initial": state.row.get("accuracy_initial"),
        "accuracy_reestimated": state.row.get("accuracy_reestimated"),
        **run.measurement.row(state, run.graph, made, test, validation),
        **verified,
        "seconds": state.row.get("seconds", 0.0) + time.perf_counter() - begin,
    }
    _decide(run, made, validation)
    row["result"], row["activations"] = state.result, state.activations
    yield Event("iteration", row, payload=lambda: (made, run.snapshot()))


def _decide(run: Run, made: Checkpoint, validation: Measure) -> None:
    state, least = run.state, run.spec.stop.min_accuracy
    before, state.spent, state.row = state.spent, state.spent + state.epoch, {}
    state.phase, state.epoch = "cut", 0
    state.optimizer = state.optimizer if run.spec.retrain.keep_momentum else None
    if state.iteration and validation.accuracy < least:
        # The network before this cut is the result. It is restored because the control must have its widths.
        fell = f"{validation.accuracy:.2%} in iteration {state.iteration}"
        run.finish(f"validation accuracy fell to {fell}, below min_accuracy {least:.2%}")
        state.spent = before
        if state.good is not None:
            good = Checkpoint(**state.good)
            state.network, state.origins = place(good.build(), run.device), dict(good.origins)
            state.units, state.sparse = dict(good.units), list(good.sparse)
    else:
        state.result = state.iteration
        state.teacher = vars(made) if not state.iteration and run.spec.has_teacher else state.teacher
        state.good = vars(made) if run.spec.control.scratch and least else None
