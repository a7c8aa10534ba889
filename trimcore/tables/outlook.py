"""What a run that is still retraining has so far, and what would be left if it ended now. Pure functions."""

from dataclasses import dataclass
from typing import Any

from trimcore.tables.metric import metric_of, value_of
from trimcore.tables.recorded import latest

Recorded = dict[str, Any]


@dataclass(frozen=True)
class Outlook:
    """The iteration in progress. `epoch` of `epochs` are done; `now` and `best` are the validation metric after the
    last epoch and after the best one, `best_epoch`. `before` is that of the iteration before the cut. `compression` is
    relative to the base network, None if unknown. `gain` is what the last epoch gained, positive if it got better; None
    after the first epoch."""

    iteration: int
    epoch: int
    epochs: int
    now: float
    best: float
    best_epoch: int
    before: float | None
    compression: float | None
    gain: float | None


def outlook(events: list[Recorded]) -> Outlook | None:
    """The iteration that is being retrained; None before its first epoch, and once it has finished."""
    metric, done = metric_of(events), latest(events, "iteration")
    trained = [event for event in events if event["kind"] == "epoch" and event["phase"] == "retrain"]
    if not trained or trained[-1]["iteration"] in done:
        return None
    last = trained[-1]
    number = last["iteration"]
    epochs = {e["epoch"]: value_of(e, "validation_accuracy") for e in trained if e["iteration"] == number}
    best = min(epochs, key=lambda epoch: (metric.loss(0.0, epochs[epoch]), epoch))
    cut = {**latest(events, "pruned"), **latest(events, "weights")}.get(number, {})
    base, left = done.get(0, {}).get("parameters"), cut.get("parameters")
    previous = epochs.get(last["epoch"] - 1)
    return Outlook(
        number, last["epoch"], last["epochs"], epochs[last["epoch"]], epochs[best], best,
        value_of(done.get(number - 1, {}), "validation_accuracy"), base / left if base and left else None,
        None if previous is None else metric.loss(epochs[last["epoch"]], previous),
    )  # fmt: skip
