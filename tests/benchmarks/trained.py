"""Networks that are trained, cut once by a plan, and trained again: for comparisons of plans."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trimcore import spec
from trimcore.compute.generators import finished
from trimcore.jobs import control
from trimcore.jobs.worker import carry_out
from trimcore.planning.plan import Plan
from trimcore.planning.sensitivity import Sensitivity, scanning
from trimcore.planning.targets import as_step
from trimcore.runs import read_events
from trimcore.training.prepare import Opened, open_iteration

SHARES = (1.0, 0.75, 0.5, 0.25, 0.1)


@dataclass(frozen=True)
class Trained:
    """A base network, and where its runs are. `settings` are of a spec."""

    settings: Mapping[str, object]
    run: str
    folder: Path

    @cached_property
    def opened(self) -> Opened:
        return open_iteration(self.folder, self.run)

    @cached_property
    def loss(self) -> Sensitivity:
        """Measured on 250 validation images."""
        found = self.opened
        return finished(scanning(found.graph, found.profile(), found.batches(250), fractions=SHARES, task=found.task))

    def carried_out(self, plan: Plan, epochs: int) -> tuple[float, float]:
        """The test accuracy after the cut by a plan, and after as many epochs of retraining."""
        step = as_step(plan, self.opened.profile())
        asked = {**self.settings, "parent": {"run": self.run, "iteration": 0}, "step": [step],
                 "retrain": {"epochs": epochs}}  # fmt: skip
        events = list(read_events(_run(asked, self.folder)))
        cut = next(event for event in events if event["kind"] == "initial")
        last = [event for event in events if event["kind"] == "iteration"][-1]
        return cut["accuracy"], last["accuracy_final"]


def trained(name: str, size: int, seed: int, epochs: int, folder: Path) -> Trained:
    settings = {"model": name, "data": "mnist-5k", "seed": seed, "image_size": size}
    return Trained(settings, _run({**settings, "base": {"epochs": epochs}}, folder).name, folder)


def percents(values) -> str:
    return ", ".join(f"{100 * value:.1f}" for value in values) + " %"


def _run(asked: Mapping[str, object], folder: Path) -> Path:
    made = control.prepare_run(spec.parse(asked), folder)
    carry_out(made, log=folder / "log.txt")
    return made
