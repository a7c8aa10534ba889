"""Apply the plan before it is launched, and measure what it leaves of the headline metric before any retraining."""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from dashboard.plan import measurement
from dashboard.plan.origin import StartPoint
from dashboard.session import devices, run_network
from dashboard.session.data_summary import data_summary
from trimcore.compute import device
from trimcore.evaluation.accuracy import evaluate
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import Cost
from trimcore.planning.rehearsal import carried_out
from trimcore.spec import Spec, parse
from trimcore.tasks import task_for

INTERVAL = 0.05  # seconds between heartbeats


@dataclass(frozen=True)
class Rehearsal:
    """Values of the headline metric on validation before any retraining: of the starting network, after the plan's
    first iteration, and after all iterations at once."""

    examples: int
    iterations: int
    now: float
    first: float
    all_at_once: float


def rehearse(draft: dict[str, Any], start: StartPoint, heartbeat: Callable[[], object] = lambda: None) -> Rehearsal:
    """The values that the draft's plan leaves on the first validation examples, with real surgery. Raises TrimError.

    The work is done in a thread while `heartbeat` is called repeatedly. If that raises, as Streamlit's calls do when
    the page is rerun, the measurement is cancelled before its next network.
    """
    subject, wanted, cancelled = run_network.subject(*start), parse({**draft, "parent": None}), threading.Event()
    key = _rehearsal_key(draft, start)
    found: Rehearsal | None = measurement.known.get(key)
    if found is not None:
        return measurement.cached(key, lambda: found)  # now the last used
    job = _worker().submit(_measure, start, subject, wanted, cancelled)
    try:
        while wait([job], INTERVAL).not_done:
            heartbeat()
        return measurement.cached(key, job.result)
    finally:
        job.cancel()
        cancelled.set()


def is_known(draft: dict[str, Any], start: StartPoint) -> bool:
    """Whether the plan's values have already been measured."""
    return _rehearsal_key(draft, start) in measurement.known


def seconds(draft: dict[str, Any], start: StartPoint, cost: Cost, iterations: int) -> float:
    """An estimate of how long `rehearse` takes. `cost` is of the starting network."""
    validation = data_summary(draft["data"]).splits["validation"]
    images = 3 * min(run_network.QUICK_IMAGES, validation)
    if measurement.weights_key(start) not in measurement.known:
        images += min(draft["profile"]["examples"] or validation, validation)
    surgery = 0.01 * len(cost.layers) + cost.parameters / 4e7
    return cost.macs * images / devices.MACS_PER_SECOND["cpu"] + (iterations + 1) * surgery


@functools.cache
def _worker() -> ThreadPoolExecutor:
    """One thread for all sessions, because several plans at once would only compete for the cores."""
    return ThreadPoolExecutor(1, "before-retraining")


def _rehearsal_key(draft: dict[str, Any], start: StartPoint) -> tuple[Any, ...]:
    settings = (draft["seed"], draft["retrain"]["batch_size"], sorted(draft["profile"].items()))
    return (*measurement.weights_key(start), str(settings), str(draft["step"]))


def _measure(
    start: StartPoint, subject: run_network.Subject, wanted: Spec, cancelled: threading.Event
) -> Rehearsal:
    split = subject.data.validation.subset(run_network.QUICK_IMAGES)

    task = task_for(wanted.task)
    task.outputs = subject.data.num_classes

    def value(graph: ChannelGraph) -> float:
        return evaluate(graph.model, split, subject.data, device.resolve("cpu"), task).value

    networks = carried_out(subject.graph, wanted.step, measurement.measured(start, subject, wanted), wanted.seed)
    now, done, last = value(subject.graph), 0, subject.graph
    first = now
    for done, last in enumerate(networks, 1):
        if cancelled.is_set():
            raise CancelledError
        first = value(last) if done == 1 else first
    return Rehearsal(len(split), done, now, first, first if done <= 1 else value(last))
