"""An iteration of a run, opened again: its network, and the data that it is looked at with."""

from dataclasses import dataclass
from pathlib import Path

import torch

from trimcore import runs
from trimcore.compute.device import has_fast_bf16, place, resolve
from trimcore.data import Data
from trimcore.data.batches import Batches
from trimcore.evaluation.accuracy import EVALUATION_BATCH
from trimcore.files import checkpoint
from trimcore.files.checkpoint import Checkpoint
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.tracing import trace
from trimcore.models import example_input
from trimcore.scoring import apoz
from trimcore.scoring.apoz import Profile
from trimcore.spec import Spec, load
from trimcore.training.checks import data_for


@dataclass(frozen=True)
class Opened:
    """`graph` is of the network, which is on `device`."""

    spec: Spec
    made: Checkpoint
    graph: ChannelGraph
    data: Data
    device: torch.device
    path: Path

    def batches(self, examples: int = 0) -> Batches:
        """The first `examples` of the validation split (0: all)."""
        channels_last = has_fast_bf16(self.device)
        split = self.data.validation.subset(examples)
        return Batches(split, self.data, EVALUATION_BATCH, self.device, channels_last=channels_last)

    def profile(self, examples: int = 0) -> Profile:
        """The APoZ of its layers, counted again."""
        tolerance = self.spec.profile.tolerance
        return apoz.profile(self.graph.model, self.batches(examples), tolerance, graph=self.graph)


def open_iteration(
    folder: Path, run_id: str, iteration: int | None = None, device: str = "cpu", data: Data | None = None
) -> Opened:
    """An iteration of a run in the runs folder, its result where none is named. `data` may be loaded already.

    Raises RunError, CheckpointError, DataError or SpecError for what is not there, or not as it was.
    """
    run = runs.open_run(folder, run_id)
    asked = load(run / "spec.toml")
    path = runs.checkpoint_path(run, runs.result_of(run) if iteration is None else iteration)
    made = checkpoint.load(path)
    on = resolve(device)
    graph = trace(place(made.build().eval(), on), example_input(made.arguments).to(on))
    return Opened(asked, made, graph, data or data_for(asked), on, path)
