"""Measurements of the network that a plan starts from, before anything runs. They are cached."""

from typing import Any

from dashboard.plan.origin import StartPoint, is_converted
from dashboard.session import run_network, run_reader
from dashboard.session.shared_results import SharedResults
from trimcore import data, runs, tables
from trimcore.compute.generators import finished
from trimcore.data.batches import Batches
from trimcore.data.dataset import Split
from trimcore.errors import TrimError
from trimcore.evaluation.accuracy import evaluation_batch
from trimcore.planning.rehearsal import Measured
from trimcore.scoring import relevance
from trimcore.scoring.apoz import Profile, profiling
from trimcore.scoring.relevance import UnitRelevance
from trimcore.spec import Spec, parse
from trimcore.tasks import task_for
from trimcore.tasks.batches import InputBatches

_shared = SharedResults(64)
cached = _shared.get  # cached(key, make)
known = _shared.found  # key -> result


def unavailable_reason(draft: dict[str, Any], start: StartPoint | None) -> str:
    """Why nothing can be measured before the run, in one line; "" if it can."""
    if start is None:
        return ("Results before retraining, sensitivity and targets need a trained network. Select a run of this "
                "network or profile it first, and start from one of its iterations.")  # fmt: skip
    if draft["convert"]["to"] and draft["convert"]["epochs"] and not is_converted(start):
        return ("The run first converts the activations and trains the network further. The effect of the cuts on that "
                "network cannot be measured before the run.")  # fmt: skip
    path = runs.checkpoint_of(run_reader.folder(), *start)
    if not path.exists():
        return (f"Nothing can be measured before the run: the run folder has no checkpoint of iteration {start[1]} "
                f"({path.name}).")  # fmt: skip
    try:
        data.check_there(draft["data"])
    except TrimError as error:
        return f"Nothing can be measured before the run: {error}."
    return ""


def batches(subject: run_network.Subject, examples: int) -> Batches:
    """The first `examples` of the validation split; 0: all."""
    return _batches(subject, subject.data.validation.subset(examples), evaluation_batch(subject.data))


def _batches(subject: run_network.Subject, split: Split, size: int) -> Batches:
    return Batches(split, subject.data, size, "cpu")


def profile(draft: dict[str, Any], subject: run_network.Subject) -> Profile:
    """The APoZ that the run would count first. It is counted again, because recorded values are rounded."""
    return _profile(subject, parse({**draft, "step": [], "parent": None}))


def weights_key(start: StartPoint) -> tuple[Any, ...]:
    """Identifies the weights of an iteration. It changes when the checkpoint changes."""
    path = runs.checkpoint_of(run_reader.folder(), *start)
    return str(path), path.stat().st_mtime_ns if path.exists() else 0


def measured(start: StartPoint, subject: run_network.Subject, wanted: Spec) -> Measured:
    """The scores on which the rules of the plan are based, at its start."""
    recorded = tables.latest(run_reader.events(start[0]), "profiled")[start[1]]
    seen = _profile(subject, wanted)
    inside = any(step.rule_for(name).rule == "maxout" for step in wanted.step for name in (*step.layers, *step.layer))
    units = _relevance(subject, recorded, wanted) if inside else {}
    origins = {name: recorded["layers"][name]["original"] for name in seen.layers if name in recorded["layers"]}
    origins |= {name: own["original"] for name, own in (recorded.get("units") or {}).items()}
    return Measured(seen, units, origins)


def _profile(subject: run_network.Subject, wanted: Spec) -> Profile:
    """The profile as `trimcore.training.measurement` would count it for the steps of a spec."""
    criteria = {step.criterion_for(name) for step in wanted.step for name in (*step.layers, *step.layer)}
    mean, taylor, settings = "mean-activation" in criteria, "taylor" in criteria, wanted.profile
    size = evaluation_batch(subject.data)
    size = min(size, wanted.retrain.batch_size) if taylor else size

    def count() -> Profile:
        split = subject.data.validation.subset(settings.examples)
        source = InputBatches(_batches(subject, split, size), task_for(wanted.task))
        return finished(profiling(subject.graph.model, source, settings.tolerance, graph=subject.graph,
                                  mean_activation=mean, taylor=taylor))  # fmt: skip

    found = cached((subject.key, "profile", settings.examples, settings.tolerance, mean, taylor, size), count)
    cached(subject.key, lambda: True)  # the next plan needs no profile
    return found


def _relevance(subject: run_network.Subject, recorded: dict[str, Any], asked: Spec) -> dict[str, UnitRelevance]:
    """The recorded counts, which are exact. Counted again if the run would use other examples."""
    train, own, examples = subject.data.train, recorded.get("units") or {}, asked.profile.relevance_examples
    wanted = examples if 0 < examples < len(train) else len(train)
    if own and all(unit["examples"] == wanted for unit in own.values()):
        return {name: UnitRelevance.recorded(name, unit) for name, unit in own.items()}
    batch = evaluation_batch(subject.data)
    source = InputBatches(_batches(subject, train.subset(examples), batch), task_for(asked.task))
    if not subject.graph.units:
        return {}
    return cached((subject.key, "relevance", examples),
                  lambda: finished(relevance.measuring(subject.graph.model, source, graph=subject.graph)))  # fmt: skip
