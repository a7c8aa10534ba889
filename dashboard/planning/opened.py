"""The network that a plan begins with, opened in the page's own process: what can be measured before anything runs."""

import functools
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from dashboard import looking, store, work
from dashboard.planning.beginning import is_converted
from trimcore import data, runs, tables
from trimcore.compute import device
from trimcore.compute.generators import finished
from trimcore.data.batches import Batches
from trimcore.errors import TrimError
from trimcore.evaluation.accuracy import EVALUATION_BATCH, evaluate
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import Cost
from trimcore.planning.rehearsal import Measured, carried_out
from trimcore.scoring import relevance
from trimcore.scoring.apoz import Profile, profiling
from trimcore.scoring.relevance import UnitRelevance
from trimcore.spec import Spec, parse

Begin = tuple[str, int]
MOST = 64  # finds kept
BEAT = 0.05  # seconds


@dataclass(frozen=True)
class Shot:
    """Validation accuracies (0..1) before any retraining: of the network to begin with, after the plan's first
    iteration, and after all of them."""

    examples: int
    iterations: int
    now: float
    first: float
    whole: float


def why_not(draft: dict, begin: Begin | None) -> str:
    """Why nothing can be measured before the run, in one line; "" where it can."""
    if begin is None:
        return ("Accuracy before retraining, sensitivity and targets need a trained network: select a run of this "
                "network, or profile it first, and begin from one of its iterations.")  # fmt: skip
    if draft["convert"]["to"] and draft["convert"]["epochs"] and not is_converted(begin):
        return ("The run trains on while it converts the activations: what the cuts do to that network cannot be "
                "measured before.")  # fmt: skip
    path = runs.checkpoint_path(runs.open_run(store.folder(), begin[0]), begin[1])
    if not path.exists():
        return f"The run folder has no weights of iteration {begin[1]}: nothing can be measured before the cut."
    try:
        data.check_there(draft["data"])
    except TrimError as error:
        return f"Nothing can be measured before the cut: {error}."
    return ""


def batches(subject: looking.Subject, examples: int) -> Batches:
    """The first `examples` of the validation split, 0: all."""
    return Batches(subject.data.validation.subset(examples), subject.data, EVALUATION_BATCH, "cpu")


def profile(draft: dict, subject: looking.Subject) -> Profile:
    """The APoZ that the run would count first, counted again: what a run records is rounded, and ties would be lost."""
    return _profile(subject, parse({**draft, "step": [], "parent": None}))


def shot(draft: dict, begin: Begin, beat: Callable[[], None] = lambda: None) -> Shot:
    """The accuracies of the draft's plan on the first validation images, by real surgery. Raises TrimError.

    Measured in a thread, while `beat` is called again and again: where it raises (Streamlit's calls do, when the page
    is to be drawn anew), what is measured is given up before its next network.
    """
    subject, wanted, given_up = looking.subject(*begin), parse({**draft, "parent": None}), threading.Event()
    key = _shot_key(draft, begin)
    if key in _shelf():
        return keep(key, lambda: None)
    job = _worker().submit(_shot, begin, subject, wanted, given_up)
    try:
        while wait([job], BEAT).not_done:
            beat()
        return keep(key, job.result)
    finally:
        job.cancel()
        given_up.set()


def is_known(draft: dict, begin: Begin) -> bool:
    """Whether the plan's accuracies have been measured already."""
    return _shot_key(draft, begin) in _shelf()


def seconds(draft: dict, begin: Begin, cost: Cost, iterations: int) -> float:
    """A guess of how long `shot` takes; `cost` is of the network to begin with."""
    validation = work.data_summary(draft["data"]).splits["validation"]
    images = 3 * min(looking.FEW, validation)
    if place(begin) not in _shelf():
        images += min(draft["profile"]["examples"] or validation, validation)
    surgery = 0.01 * len(cost.layers) + cost.parameters / 4e7
    return cost.macs * images / work.MACS_PER_SECOND["cpu"] + (iterations + 1) * surgery


def keep(key: Hashable, make: Callable[[], object]):
    """What `make()` gives, made once for each key."""
    shelf = _shelf()
    found = shelf.pop(key) if key in shelf else make()
    shelf[key] = found  # the last one used stands last
    while len(shelf) > MOST:
        shelf.pop(next(iter(shelf)), None)
    return found


@functools.cache
def _shelf() -> dict:
    return {}


@functools.cache
def _worker() -> ThreadPoolExecutor:
    """One for all: several plans at once would only share the cores."""
    return ThreadPoolExecutor(1, "before-retraining")


def place(begin: Begin) -> tuple:
    """Tells an iteration's weights from any others, and from themselves after the file has changed."""
    path = runs.checkpoint_path(runs.open_run(store.folder(), begin[0]), begin[1])
    return str(path), path.stat().st_mtime_ns if path.exists() else 0


def _shot_key(draft: dict, begin: Begin) -> tuple:
    settings = (draft["seed"], draft["retrain"]["batch_size"], sorted(draft["profile"].items()))
    return (*place(begin), str(settings), str(draft["step"]))


def _shot(begin: Begin, subject: looking.Subject, wanted: Spec, given_up: threading.Event) -> Shot | None:
    split = subject.data.validation.subset(looking.FEW)

    def accuracy(graph: ChannelGraph) -> float:
        return evaluate(graph.model, split, subject.data, device.resolve("cpu")).accuracy

    networks = carried_out(subject.graph, wanted.step, measured(begin, subject, wanted), wanted.seed)
    now, done, last = accuracy(subject.graph), 0, subject.graph
    first = now
    for done, last in enumerate(networks, 1):
        if given_up.is_set():
            return None
        first = accuracy(last) if done == 1 else first
    return Shot(len(split), done, now, first, first if done <= 1 else accuracy(last))


def measured(begin: Begin, subject: looking.Subject, wanted: Spec) -> Measured:
    """What the rules of the plan go by, at its beginning."""
    recorded = tables.latest(store.events(begin[0]), "profiled")[begin[1]]
    seen = _profile(subject, wanted)
    inside = any(step.rule_for(name).rule == "maxout" for step in wanted.step for name in (*step.layers, *step.layer))
    units = _relevance(begin, subject, recorded, wanted.profile.relevance_examples) if inside else {}
    origins = {name: recorded["layers"][name]["original"] for name in seen.layers if name in recorded["layers"]}
    origins |= {name: own["original"] for name, own in (recorded.get("units") or {}).items()}
    return Measured(seen, units, origins)


def _profile(subject: looking.Subject, wanted: Spec) -> Profile:
    """As `measuring.Measuring` counts it for the steps of a spec."""
    criteria = {step.criterion_for(name) for step in wanted.step for name in (*step.layers, *step.layer)}
    mean, taylor, settings = "mean-activation" in criteria, "taylor" in criteria, wanted.profile
    size = min(EVALUATION_BATCH, wanted.retrain.batch_size) if taylor else EVALUATION_BATCH

    def count() -> Profile:
        split = subject.data.validation.subset(settings.examples)
        source = Batches(split, subject.data, size, "cpu")
        return finished(profiling(subject.graph.model, source, settings.tolerance, graph=subject.graph,
                                  mean_activation=mean, taylor=taylor))  # fmt: skip

    found = keep((subject.mark, "profile", settings.examples, settings.tolerance, mean, taylor, size), count)
    keep(subject.mark, lambda: True)  # the next plan needs no profile
    return found


def _relevance(
    begin: Begin, subject: looking.Subject, recorded: dict, examples: int
) -> dict[str, UnitRelevance]:
    """The recorded counts, which are exact; counted again where they are of other examples than the run will take."""
    train, own = subject.data.train, recorded.get("units") or {}
    wanted = examples if 0 < examples < len(train) else len(train)
    if own and all(unit["examples"] == wanted for unit in own.values()):
        return {name: UnitRelevance.recorded(name, unit) for name, unit in own.items()}
    source = Batches(train.subset(examples), subject.data, EVALUATION_BATCH, "cpu")
    if not subject.graph.units:
        return {}
    return keep((subject.mark, "relevance", examples),
                lambda: finished(relevance.measured(subject.graph.model, source, graph=subject.graph)))  # fmt: skip
