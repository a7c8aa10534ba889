"""Launch the runs of a sweep, complete a launch that was interrupted, and stop all of them.

Runs that start from the same base network share it: one run trains it alone, and the others branch from it.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w
from filelock import FileLock, Timeout

from trimcore import runs, tables
from trimcore.errors import RunError
from trimcore.jobs import control, sweep_rule
from trimcore.jobs.locks import lock_path
from trimcore.runs import sweeps
from trimcore.runs.sweeps import Member
from trimcore.spec import Control, Distill, Parent, Point, Spec, Stop, Sweep, parse, points, read

AFTER_THE_BASE = {  # sections that do not change the network of iteration 0
    "name", "profile", "retrain", "distill", "step", "verify", "stop", "control", "whole_heads", "embeddings", "sweep",
}  # fmt: skip
MAX_NAME = 80  # characters of a run's name
WAIT = 60.0  # seconds for another process that launches runs of the same sweep
AT_ONCE = 8  # supervisors that start at the same time


@dataclass(frozen=True)
class Job:
    """A run of a sweep: its spec and its place. `parent` is the number of the base network that it starts from."""

    spec: Spec
    member: Member
    parent: int | None = None


def jobs_of(values: dict[str, Any], sweep_id: str = "") -> list[Job]:
    """The runs of a sweep, those that only train a base network first. Raises SpecError."""
    asked, found = parse(values), points(values)
    assert asked.sweep is not None  # else `points` raises
    numbers = shared_bases(found)
    bases = [_base(found[numbers.index(number)].spec, asked, number, sweep_id, len(found))
             for number in sorted({number for number in numbers if number is not None})]  # fmt: skip
    return [*bases, *(_job(point, number, asked.sweep, place, sweep_id, len(found))
                      for place, (point, number) in enumerate(zip(found, numbers, strict=True)))]  # fmt: skip


def shared_bases(found: Sequence[Point]) -> list[int | None]:
    """For each point the number of the base network that it shares with others; None if it shares none, or if there is
    nothing to train before iteration 0."""
    keys = [_base_key(point.spec) if _trains_base(point.spec) else "" for point in found]
    shared = [key for key in dict.fromkeys(keys) if key and keys.count(key) > 1]
    return [shared.index(key) if key in shared else None for key in keys]


def _trains_base(spec: Spec) -> bool:
    return not spec.parent and spec.base_epochs + spec.convert_epochs > 0


def _base_key(spec: Spec) -> str:
    return json.dumps(spec.model_dump(exclude=AFTER_THE_BASE), sort_keys=True)


def _base(spec: Spec, asked: Spec, number: int, sweep_id: str, count: int) -> Job:
    plain = {"step": [], "control": Control(), "stop": Stop(), "distill": Distill(), "sweep": None}
    made = spec.model_copy(update={**plain, "name": _named(asked, f"base {number + 1}")})
    return Job(made, _member(asked.sweep, sweep_id, count, base=number))


def _job(point: Point, parent: int | None, sweep: Sweep, place: int, sweep_id: str, count: int) -> Job:
    named = point.spec.model_copy(update={"name": _named(point.spec, sweeps.settings_text(point.settings))})
    return Job(named, _member(sweep, sweep_id, count, point=place, settings=point.settings), parent)


def _member(sweep: Sweep | None, sweep_id: str, count: int, **place: Any) -> Member:
    assert sweep is not None
    target = sweep.target.model_dump(exclude_none=True) if sweep.target else None
    return Member(sweep_id, count, stop_behind=sweep.stop_behind, target=target, **place)


def _named(spec: Spec, ending: str) -> str:
    ending = f" · {ending}"[:MAX_NAME]
    return (spec.name or spec.model)[: MAX_NAME - len(ending)] + ending


# --- start ---


def create(values: dict[str, Any], runs_folder: Path) -> str:
    """Check every run of a sweep and keep its spec. Returns its id. Nothing is started yet. Raises SpecError and
    RunError."""
    jobs_of(values)
    return sweeps.create_sweep(runs_folder, tomli_w.dumps(_without_none(values)))


def launch(values: dict[str, Any], runs_folder: Path) -> str:
    """Launch all runs of a sweep, from the values of a spec with [sweep], and return the id of the sweep.

    Raises SpecError before anything starts, and the errors of `control.prepare_run`; `complete` goes on after one.
    """
    sweep_id = create(values, runs_folder)
    complete(runs_folder, sweep_id)
    return sweep_id


def complete(runs_folder: Path, sweep_id: str) -> tuple[list[str], list[str]]:
    """Launch the runs of a sweep that do not exist yet, and resume those that ended before they were done, unless the
    sweep's rule has stopped them. Returns the ids of both. Raises RunError and SpecError."""
    with _alone(runs_folder, sweep_id):
        resumed = [run_id for run_id in sweeps.members(runs_folder, sweep_id) if _is_unfinished(runs_folder / run_id)]
        for run_id in resumed:
            control.resume(runs_folder, run_id)
        started: list[str] = []
        starting: list[control.Starting] = []
        for folder in prepared(runs_folder, sweep_id):
            started.append(folder.name)
            starting.append(control.start(folder))
            if len(starting) == AT_ONCE:
                control.await_all(starting)
                starting = []
        control.await_all(starting)
    return started, resumed


@contextlib.contextmanager
def _alone(runs_folder: Path, sweep_id: str) -> Iterator[None]:
    """Only one process at a time launches the runs of a sweep."""
    sweeps.sweep_path(runs_folder, sweep_id)  # raises if there is no such sweep
    lock = FileLock(lock_path(runs_folder, sweep_id, "sweep"))
    try:
        lock.acquire(timeout=WAIT)
    except Timeout:
        raise RunError(f"another process is launching the runs of {sweep_id}: wait until it is done") from None
    try:
        yield
    finally:
        lock.release()


def prepared(runs_folder: Path, sweep_id: str) -> Iterator[Path]:
    """The folders of the runs of a sweep that do not exist yet. Each is made when it is its turn in the iteration."""
    jobs = jobs_of(read(sweeps.sweep_path(runs_folder, sweep_id)), sweep_id)
    there = {(member.base, member.point): run_id for run_id, member in sweeps.members(runs_folder, sweep_id).items()}
    for job in jobs:
        place = job.member.base, job.member.point
        if place in there:
            continue
        spec = job.spec if job.parent is None else _branch(job.spec, there[job.parent, None])
        folder = control.prepare_run(spec, runs_folder, job.member)
        there[place] = folder.name
        yield folder


def _branch(spec: Spec, base: str) -> Spec:
    """The spec as a branch of a base network, which is converted already."""
    convert = spec.convert.model_copy(update={"to": ""})
    return spec.model_copy(update={"parent": Parent(run=base, iteration=0), "convert": convert})


def _is_unfinished(folder: Path) -> bool:
    status = runs.state_of(folder)
    return status.state in control.RESUMABLE and not sweeps.is_by_rule(status.reason)


def is_complete(runs_folder: Path, sweep_id: str) -> bool:
    """Whether `complete` would find nothing to do."""
    own = sweeps.members(runs_folder, sweep_id)
    missing = next(iter(own.values())).points - sum(member.point is not None for member in own.values()) if own else 1
    return missing <= 0 and not any(_is_unfinished(runs_folder / run_id) for run_id in own)


# --- look and stop ---


def table(
    runs_folder: Path, sweep_id: str, events: Callable[[Path], list[dict[str, Any]]] | None = None
) -> pd.DataFrame:  # fmt: skip
    """The table of a sweep's runs (see `tables.sweep`). `events` reads those of a run, and may cache. Raises RunError
    for a sweep that does not exist."""
    read_all = events or (lambda folder: list(runs.read_events(folder, sweep_rule.KINDS)))
    rows = []
    for run_id, member in _members(runs_folder, sweep_id).items():
        folder = runs_folder / run_id
        found, status = read_all(folder), runs.state_of(folder)
        rows.append(tables.SweepRun(
            run_id, member.settings, status.state, status.reason, found, runs.result_in(found)
        ))  # fmt: skip
    return tables.sweep(rows)


def _members(runs_folder: Path, sweep_id: str) -> dict[str, Member]:
    own = sweeps.members(runs_folder, sweep_id)
    if not own:
        sweeps.sweep_path(runs_folder, sweep_id)  # raises if there is no such sweep
    return own


def stop(runs_folder: Path, sweep_id: str) -> list[str]:
    """Ask all active runs of a sweep to stop, those that wait first. Returns their ids. Raises RunError."""
    own = _members(runs_folder, sweep_id)
    states = {run_id: runs.state_of(runs_folder / run_id) for run_id in own}
    active = [run_id for run_id, status in states.items() if status.active]
    for run_id in sorted(active, key=lambda run_id: states[run_id].state != "queued"):
        try:
            control.ask(runs_folder, run_id, "stop")
        except RunError:
            continue  # it has just ended
    return active


def _without_none(values: Any) -> Any:
    """The values as TOML can hold them."""
    if isinstance(values, dict):
        return {key: _without_none(value) for key, value in values.items() if value is not None}
    return [_without_none(value) for value in values] if isinstance(values, list) else values
