"""The end of an iteration: measure and profile its network, report its row, and decide how to continue."""

import time
from collections.abc import Iterator

from trimcore.compute import distributed
from trimcore.compute.layout import place
from trimcore.compute.modes import unchanged
from trimcore.evaluation.accuracy import Measure
from trimcore.files.checkpoint import Checkpoint
from trimcore.runs.events import Event
from trimcore.training.run import Run


def close_iteration(run: Run) -> Iterator[Event]:
    """Close the iteration. A cut comes next, unless the headline metric has become too bad."""
    state, begin = run.state, time.perf_counter()
    distributed.check_in_sync(state.network)
    with unchanged(state.network):
        test, validation = run.measure("test"), run.measure("validation")
        yield from run.profile()
        verified = yield from run.measurement.verified(state, run.graph)
        made = state.checkpoint(run.spec.model)
        measured = run.measurement.row(state, run.graph, made, test, validation)
    row = {
        "iteration": state.iteration,
        "layers_trimmed": state.row.get("layers_trimmed", []),
        **run.metric.fields({key: state.row.get(key) for key in ("accuracy_initial", "accuracy_reestimated")}),
        **measured,
        **verified,
        "seconds": state.row.get("seconds", 0.0) + time.perf_counter() - begin,
    }
    _decide(run, made, validation)
    row["result"], row["activations"] = state.result, state.activations
    yield Event("iteration", row, payload=lambda: (made, run.snapshot()))


def _decide(run: Run, made: Checkpoint, validation: Measure) -> None:
    state, metric, worst = run.state, run.metric, run.spec.stop.worst
    before, state.spent, state.row = state.spent, state.spent + state.epoch, {}
    state.phase, state.epoch = "cut", 0
    state.optimizer = state.optimizer if run.spec.retrain.keep_momentum else None
    if state.iteration and worst is not None and metric.is_better(worst, validation.value):
        # The network before this cut is the result. It is restored because the control must have its widths.
        run.finish(_reason(run, validation.value, worst))
        state.spent = before
        if state.good is not None:
            good = Checkpoint(**state.good)
            state.network, state.origins = place(good.build(), run.device, run.example), dict(good.origins)
            state.units, state.sparse = dict(good.units), list(good.sparse)
    else:
        state.result = state.iteration
        state.teacher = vars(made) if not state.iteration and run.spec.has_teacher else state.teacher
        state.good = vars(made) if run.spec.control.scratch and worst is not None else None


def _reason(run: Run, value: float, worst: float) -> str:
    metric, where = run.metric, f"in iteration {run.state.iteration}"
    if run.spec.stop.limit is None:
        return f"validation accuracy fell to {value:.2%} {where}, below min_accuracy {worst:.2%}"
    changed = "fell" if metric.higher_is_better else "rose"
    return f"validation {metric.name} {changed} to {metric.text(value)} {where}, beyond the limit {metric.text(worst)}"
