"""When a run of a sweep ends early: it is clearly behind another run, or the sweep's target has been met.

There is no process that watches over a sweep. Each run looks at the folders of the others, after each of its iterations
and when its turn comes on the device, and ends itself.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimcore import runs
from trimcore.runs import sweeps
from trimcore.runs.sweeps import BEHIND, MET, Member
from trimcore.tables.metric import ACCURACY, Metric, metric_of, value_of

KINDS = ("started", "iteration")  # the events that a verdict needs
SAME_SIZE = 1.01  # networks whose sizes differ by up to one per cent are of the same size
ERRORS = 2.0  # standard errors of a difference that are taken for noise


@dataclass(frozen=True)
class Result:
    """The network at the end of an iteration. `value` is the headline metric on the validation split."""

    iteration: int
    parameters: int
    nonzero: int
    compression: float
    macs_ratio: float
    value: float


@dataclass(frozen=True)
class Course:
    """What a run has reached. `examples`: of the validation split, 0 if unknown. `iterations`: as planned."""

    metric: Metric = ACCURACY
    examples: int = 0
    iterations: int | None = None
    results: tuple[Result, ...] = ()


def course_of(events: Iterable[Mapping[str, Any]]) -> Course:
    """The course of a run, from its events of the KINDS. An iteration without a validation value does not count."""
    events = list(events)
    started: Mapping[str, Any] = next((event for event in reversed(events) if event["kind"] == "started"), {})
    found = {event["iteration"]: _result(event) for event in events if event["kind"] == "iteration"}
    planned = started.get("iterations")
    return Course(
        metric_of(events), (started.get("splits") or {}).get("validation", 0),
        planned if type(planned) is int else None,
        tuple(result for _, result in sorted(found.items()) if result is not None),
    )  # fmt: skip


def _result(event: Mapping[str, Any]) -> Result | None:
    value, parameters = value_of(event, "validation_accuracy"), event["parameters"]
    nonzero = event.get("nonzero_parameters")
    if value is None:
        return None
    return Result(event["iteration"], parameters, parameters if nonzero is None else nonzero, event["compression"],
                  event["macs_ratio"], value)  # fmt: skip


def behind(own: Course, others: Mapping[str, Course], stop_behind: float) -> tuple[str, float, float] | None:
    """The run that shows that `own` is clearly behind, with the validation values of both; None if there is none.

    The last network of `own` is compared with the best one of the others that is of the same size or smaller, both
    after a cut and its retraining. It is clearly behind if the difference exceeds `stop_behind` and is no noise (see
    `margin`). A run that has done all its iterations is never behind.
    """
    last = own.results[-1] if own.results else None
    if last is None or not last.iteration or last.iteration == own.iterations:
        return None
    rivals = [
        (result.value, name)
        for name, other in others.items() if other.metric == own.metric
        for result in other.results if result.iteration and _as_small(result, last)
    ]  # fmt: skip
    if not rivals:
        return None
    value, name = (max if own.metric.higher_is_better else min)(rivals)
    if own.metric.loss(value, last.value) <= max(stop_behind, margin(own.metric, own.examples, value, last.value)):
        return None
    return name, last.value, value


def _as_small(result: Result, than: Result) -> bool:
    """Parameters count, and those that are not zero: a pruned weight makes a network smaller, too."""
    return (result.parameters <= SAME_SIZE * than.parameters) and (result.nonzero <= SAME_SIZE * than.nonzero)


def margin(metric: Metric, examples: int, *values: float) -> float:
    """How much two values may differ by chance: ERRORS standard errors of their difference.

    A value that is a mean over N examples, each from 0 to 1, has a variance of at most p (1 - p) / N. That both values
    are of the same examples makes the true error smaller. For other metrics than shares it is not known: 0.
    """
    if not metric.percent or not examples:
        return 0.0
    shares = (min(max(value, 0.0), 1.0) for value in values)
    return ERRORS * math.sqrt(sum(p * (1 - p) for p in shares) / examples)


def meets(course: Course, target: Mapping[str, float]) -> Result | None:
    """The first network of a run that meets the target; None if none does."""
    worst = target.get("accuracy", target.get("limit", math.nan))
    if "accuracy" in target and not course.metric.is_accuracy:
        return None
    return next(
        (result for result in course.results
         if course.metric.loss(worst, result.value) <= 0 and result.compression >= target.get("smaller", 0)
         and result.macs_ratio >= target.get("less_work", 0)), None,
    )  # fmt: skip


def verdict(folder: Path) -> dict[str, Any] | None:
    """How a run has to end because of its sweep, as state and reason; None if it goes on."""
    member = sweeps.member_of(folder)
    if member is None or member.exempt or not (member.stop_behind or member.target):
        return None
    own = _course(folder)
    if member.target and (found := meets(own, member.target)):
        return {"state": "finished", "reason": f"it met the sweep's target: {_reached(own, found)}"}
    others = {run_id: other for run_id, other in sweeps.members(folder.parent, member.sweep).items()
              if run_id != folder.name}  # fmt: skip
    courses = {run_id: _course(folder.parent / run_id) for run_id in others}
    for run_id, course in courses.items():
        if member.target and (found := meets(course, member.target)):
            reason = f"{MET} {run_id} ({others[run_id].label}): {_reached(course, found)}"
            return {"state": "stopped", "reason": reason}
    fair = {run_id: courses[run_id] for run_id, other in others.items() if _same_seed(member, other)}
    if member.stop_behind and (found_behind := behind(own, fair, member.stop_behind)):
        run_id, mine, best = found_behind
        text = own.metric.text
        reason = f"{BEHIND} {run_id} ({others[run_id].label}) at the same size: {text(mine)} against {text(best)}"
        return {"state": "stopped", "reason": reason}
    return None


def _same_seed(member: Member, other: Member) -> bool:
    """With another seed, a run may be worse by chance, and to stop it would leave only the lucky ones."""
    return other.point is not None and member.settings.get("seed") == other.settings.get("seed")


def _course(folder: Path) -> Course:
    return course_of(runs.read_events(folder, KINDS))


def _reached(course: Course, result: Result) -> str:
    value = course.metric.text(result.value)
    return f"validation {course.metric.name} {value} at {result.compression:.2f}x smaller"
