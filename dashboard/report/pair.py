"""The two networks of a run that the section What changed? compares, loaded with its data, and how long that takes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dashboard.report.kept import Kept
from dashboard.session import devices, run_network, run_reader
from trimcore import runs, tables
from trimcore.data.dataset import Data
from trimcore.data.registry import READERS
from trimcore.data.splits import Folder, Resident
from trimcore.errors import DataError

LIMIT_SECONDS = 120.0  # the first images that fit are compared, but at least LEAST
LEAST = 500
LOAD_SECONDS, DECODE_SECONDS = 1.0, 0.002  # a data set of torchvision; an image in a file
OTHERS = "answers are compared on images; data of your own have none that can be drawn"


@dataclass(frozen=True)
class Pair:
    """The base network and the trimmed one of an iteration, on the CPU. `split_name` is "test" or "validation"."""

    run: Path
    iteration: int
    split_name: str
    base: run_network.Subject
    trimmed: run_network.Subject

    @property
    def data(self) -> Data:
        return self.trimmed.data

    @property
    def split(self) -> Resident | Folder:
        split: Resident | Folder = getattr(self.data, self.split_name)
        return split

    @property
    def networks(self) -> tuple[Any, Any]:
        return self.base.graph.model, self.trimmed.graph.model

    @property
    def seconds_per_image(self) -> float:
        return max(1e-9, self.base.seconds_per_image + self.trimmed.seconds_per_image)

    def examples(self, rounds: int = 1) -> int:
        """How many images are used, if both networks see each of them `rounds` times."""
        affordable = int(LIMIT_SECONDS / (rounds * self.seconds_per_image))
        return min(len(self.split), max(LEAST, affordable))

    def kept(self, what: str, examples: int, valid: Callable[[pd.DataFrame], bool]) -> Kept:
        checkpoints = tuple(runs.checkpoint_path(self.run, number) for number in (0, self.iteration))
        name = f"iteration-{self.iteration:02d}-{self.split_name}-{what}-{examples}.csv"
        return Kept(run_reader.place_of(self.run), name, checkpoints, valid)


def load(run_id: str, iteration: int, split: str) -> Pair:
    """Raises TrimError if the networks or the data cannot be loaded."""
    base, trimmed = (run_network.subject(run_id, number) for number in (0, iteration))
    if trimmed.data.is_own:
        raise DataError(OTHERS)
    return Pair(runs.open_run(run_reader.folder(), run_id), iteration, split, base, trimmed)


def about_seconds(events: list[dict[str, Any]], rows: pd.DataFrame, data: str, iteration: int, split: str) -> float:
    """How long it takes to load the data and to answer the images, as far as it is known before they are loaded.
    rows: of `tables.iterations`."""
    started = next((event for event in events if event["kind"] == "started"), {})
    sizes: dict[str, int] = started.get("splits") or {}
    files = data.partition(":")[0] in READERS
    loading = DECODE_SECONDS * sum(sizes.values()) if files else LOAD_SECONDS
    seen, seconds = tables.latest(events, "profiled"), 0.0
    for number in (0, iteration):
        profile = seen.get(number) or {}
        macs = float(rows[rows.iteration == number].macs.iloc[0])
        taken: float = profile.get("seconds", 0.0) / max(1, profile.get("examples", 1))
        seconds += max(taken, macs / devices.MACS_PER_SECOND["cpu"])
    return loading + min(seconds * sizes.get(split, 0), LIMIT_SECONDS)
