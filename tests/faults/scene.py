"""A run that something happens to: what it should come to, what is there of it, and what it comes to."""

import contextlib
import csv
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from trimcore import runs, spec
from trimcore.files import checkpoint, checksum
from trimcore.jobs import control
from trimcore.system.files import read_json

SOON = 5.0  # seconds after which the state that is shown has to be the true one
PATIENCE = 180.0  # ... a run may take to its end
KILLED = {"failed", "lost"}  # how a run that was killed may be shown
MEASURED = ("seconds", "latency")  # columns that no two runs share
ASKED = {
    "data": "mnist-5k", "device": "cpu", "seed": 7, "base": {"epochs": 2, "augment": "shift"},
    "retrain": {"epochs": 1, "keep_momentum": True},
    "step": [{"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.3, "iterations": 2},
             {"layers": ["all"], "rule": "sparsity-overall", "value": 0.5}],
}  # fmt: skip


class Broken(AssertionError):
    """A promise that was not kept, in words."""


@dataclass
class Scene:
    """Where one round happens: `folder` holds its runs, `chance` is the round's own."""

    folder: Path
    chance: random.Random
    reference: dict = field(default_factory=dict)  # what an undisturbed run of ASKED comes to
    slowest: float = 0.0  # seconds until the state was true
    others: dict[str, dict] = field(default_factory=dict)  # references of other specs, which all rounds share

    def launch(self, **changes) -> Path:
        return self.folder / control.launch(spec.parse({**ASKED, **changes}), self.folder)

    def compare_with(self, name: str, launch: Callable[["Scene"], Path]) -> None:
        """Compare this round's run with what an undisturbed run that is launched like this comes to."""
        if name not in self.others:
            self.others[name] = undisturbed(self.folder.parent / "undisturbed", launch)
        self.reference = self.others[name]

    def some_moment(self, run: Path) -> None:
        """Any moment of the run: while PyTorch is being loaded, in an epoch, between two files, after its end."""
        lines = self.chance.randrange(self.reference["events"] + 2)
        until(lambda: count_events(run) >= lines or not self.state(run).active, f"{lines} events")
        time.sleep(self.chance.random() * self.chance.choice([0.02, 0.3, 1.0]))

    def killed(self) -> tuple[Path, runs.Status]:
        """A run whose supervisor and trainer were killed at some moment, and its state."""
        run = self.launch()
        self.some_moment(run)
        kill(run, "supervisor", "worker")
        return run, self.check_true(run, KILLED)

    def state(self, run: Path) -> runs.Status:
        return runs.state_of(run)

    def check_true(self, run: Path, ends: set[str]) -> runs.Status:
        """The state shown agrees with what lives, within five seconds; and one that has ended is among `ends`."""
        began = time.monotonic()

        def true() -> bool:
            before, status, after = living(run), self.state(run), living(run)
            return bool(before) == bool(after) == status.active

        until(true, "a state that agrees with what lives", SOON)
        self.slowest = max(self.slowest, time.monotonic() - began)
        status = self.state(run)
        if not status.active and status.state not in ends | {"finished"}:
            raise Broken(f"it is shown as {status.state} ({status.reason}), expected {', '.join(sorted(ends))}")
        if "\n" in status.reason or "Traceback" in status.reason:
            raise Broken(f"the reason is no line: {status.reason!r}")
        return status

    def to_its_end(self, run: Path) -> None:
        """Resumed where it has ended early, it comes to what an undisturbed run comes to: to the bit."""
        self.finish(run)
        found = result(run)
        for key, wanted in self.reference.items():
            if key != "events" and found[key] != wanted:
                raise Broken(f"after a resume {key} differs from the undisturbed run")

    def finish(self, run: Path) -> None:
        """Wait for its end, and resume it where it has ended early."""
        until(lambda: not self.state(run).active, "its end", PATIENCE)
        for _ in range(3):
            if self.state(run).state == "finished":
                break
            control.resume(self.folder, run.name)
            until(lambda: not self.state(run).active, "its end after a resume", PATIENCE)
        status = self.state(run)
        if status.state != "finished":
            raise Broken(f"resumed, it is {status.state}: {status.reason}")
        until(lambda: not living(run), "nothing being left of a finished run", SOON)


def undisturbed(folder: Path, launch: Callable[[Scene], Path] = Scene.launch) -> dict:
    """What a run comes to when nothing happens to it."""
    folder.mkdir(exist_ok=True)
    scene = Scene(folder, random.Random(0))
    run = launch(scene)
    scene.to_its_end(run)
    return result(run)


def result(run: Path) -> dict:
    """What a finished run came to: its tables without times, and its weights."""
    tables = {}
    for name in ("iterations.csv", "layers.csv", "neurons.csv", "classes.csv"):
        with open(run / name, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        tables[name] = [{k: v for k, v in row.items() if not any(m in k for m in MEASURED)} for row in rows]
    last = runs.checkpoint_path(run, runs.result_of(run))
    return {**tables, "weights": checksum.of(checkpoint.load(last).state), "events": count_events(run)}


def finished_files(run: Path) -> dict[str, str]:
    """The checkpoints of finished iterations, with a checksum of what each holds: nothing of it may ever change again.
    (A crash before the resume point is written makes a file anew, of the same content.)"""
    done = {event["iteration"] for event in runs.read_events(run, ("iteration",))}
    paths = [runs.checkpoint_path(run, iteration) for iteration in sorted(done)]
    return {path.name: checksum.of(vars(checkpoint.load(path))) for path in paths}


def count_events(run: Path) -> int:
    try:
        return (run / "events.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def living(run: Path) -> list[psutil.Process]:
    """The processes of a run: those that name its folder, and their children. Zombies have ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if any("trimcore." in word for word in line) and str(run.resolve()) in line:
                found += [process, *process.children(recursive=True)]
    return [process for process in dict.fromkeys(found) if lives(process)]


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def process_of(run: Path, role: str) -> psutil.Process | None:
    """The supervisor ("supervisor") or the trainer ("worker") of a run, if it lives."""
    return next((p for p in living(run) if f"trimcore.jobs.{role}" in p.cmdline()), None)


def kill(run: Path, *roles: str) -> bool:
    """SIGKILL; whether all of them were there."""
    found = [process_of(run, role) for role in roles]
    for process in filter(None, found):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return all(found)


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.02)


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def edit_json(path: Path, **values) -> None:
    path.write_text(json.dumps({**read_json(path), **values}), "utf-8")
