"""Prepare a run: spec -> architecture -> data -> network with its weights -> graph -> checked steps.

Everything that opens a network starts here: the loop, the dashboard's preview, `profile` and `sensitivity`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trimcore import models, runs
from trimcore.compute.device import resolve
from trimcore.compute.distributed import local_device
from trimcore.compute.inputs import moved
from trimcore.compute.layout import is_channels_last, place
from trimcore.data.batches import Batches
from trimcore.data.dataset import Data
from trimcore.data.own import checked, with_example
from trimcore.data.pairs import PairSet, load_pairs
from trimcore.data.registry import load as load_data
from trimcore.errors import SpecError
from trimcore.evaluation.accuracy import evaluation_batch
from trimcore.evaluation.embedding import embedder
from trimcore.files import checkpoint
from trimcore.files.checkpoint import Checkpoint
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.models import Architecture
from trimcore.scoring import apoz
from trimcore.scoring.apoz import Profile
from trimcore.spec import Convert, Spec, load
from trimcore.spec.spec import AGREEMENT
from trimcore.surgery.grouping import group_on_meta
from trimcore.tables.metric import Metric
from trimcore.tasks import Task, task_for
from trimcore.tasks.agreement import Agreement
from trimcore.tasks.batches import InputBatches
from trimcore.tasks.classification import Classification
from trimcore.training.agreement import labelled_by
from trimcore.training.base_network import initial_state
from trimcore.training.checks import check_augmentation, check_conversion, check_scores, check_steps, check_task
from trimcore.training.devices import check_shares
from trimcore.training.objects import with_inputs_of
from trimcore.training.state import State, restore

IMAGENET = 1_000  # classes of pretrained weights


@dataclass(frozen=True)
class Prepared:
    """Everything that a run starts with. `state` holds the network, which is on `device`. `graph` is the graph of that
    network, and `example` one input for it. `pairs` are the verification pairs, if any. `notes` say what was
    changed in the file of the weights."""

    spec: Spec
    entry: Architecture
    data: Data
    device: torch.device
    state: State
    example: Any
    graph: ChannelGraph
    pairs: PairSet | None
    resumed: bool
    notes: list[str]
    task: Task
    metric: Metric


def prepare(
    spec: Spec, runs_folder: Path | None = None, data: Data | None = None, resume: dict[str, Any] | None = None,
    task: Task | None = None,
) -> Prepared:  # fmt: skip
    """Prepare a run. See `loop.trim` for the arguments. Raises TrimError (or a subclass) for user errors."""
    if spec.sweep:
        raise SpecError("a spec with [sweep] stands for several runs: take one of `spec.points`")
    device, entry, task = local_device(spec.device), models.architecture(spec.model), task or task_for(spec.task)
    data = for_task(_with_classes(spec, data or data_for(spec, entry), runs_folder, resume), task)
    entry = with_inputs_of(entry, data)
    check_shares(spec, data)
    check_augmentation(spec, data)
    notes: list[str] = []
    if resume is None:
        arguments = entry.arguments_for(data.num_classes, data.channels, data.image_size, spec.options)
        state, notes = initial_state(spec, entry, arguments, runs_folder)
    else:
        state = restore(resume)
    place(state.network, device, data.example_input)
    if isinstance(task, Agreement):
        given, first = state.teacher, data.example_input
        teacher = place(Checkpoint(**given).build(), device, first) if given else state.network
        data = labelled_by(teacher, data, device)
    example = moved(data.example_input, device)
    if isinstance(task, Classification):
        check_scores(spec, state.network, example, data.num_classes)
    else:
        check_task(spec, state.network, data, task, device)
    graph = trace(state.network, example, **spec.removable)
    if not state.base:
        base = cost_of(graph)
        state.base = {"parameters": base.parameters, "macs": base.macs}
    converts = state.convert_epochs and not state.units
    grouped = check_conversion(spec, graph) if converts else list(state.units)
    check_steps(spec, graph, state.origins, lambda: entry.empty(**state.arguments), grouped)
    state.units = {**{name: units.k for name, units in graph.units.items()}, **state.units}
    pairs = load_pairs(spec.verify.pairs, data) if spec.verify.pairs else None
    if pairs:
        embedder(graph)  # refuses a network without an embedding before any training
    return Prepared(
        spec, entry, data, device, state, example, graph, pairs, resume is not None, notes, task, task.metric
    )


def _with_classes(spec: Spec, data: Data, runs_folder: Path | None, resume: dict[str, Any] | None) -> Data:
    """Data without labels, with as many classes as the network has that the run starts from."""
    if spec.task != AGREEMENT:
        return data
    if resume is not None:
        count = resume["arguments"]["num_classes"]
    elif spec.parent and runs_folder:
        path = runs.checkpoint_of(Path(runs_folder), spec.parent.run, spec.parent.iteration)
        count = checkpoint.load(path).arguments["num_classes"]
    else:
        count = IMAGENET if spec.base.weights == "pretrained" else checkpoint.classes_in(spec.base.weights)
    return replace(data, classes=tuple(map(str, range(count))))


def data_of_run(run: Path, spec: Spec, data: Data | None = None) -> Data:
    """The data of a run as it saw them: images without labels with the classes that its first network says."""
    task = task_for(spec.task)
    found = for_task(data or data_for(spec), task)
    if not isinstance(task, Agreement):
        return found
    made = checkpoint.load(runs.checkpoint_path(run, 0))
    classes = tuple(map(str, range(made.arguments["num_classes"])))
    return labelled_by(made.build(), replace(found, classes=classes), torch.device("cpu"))


def for_task(data: Data, task: Task) -> Data:
    """The data with the shape of the network's inputs, and with each batch checked by the task. `task` learns how many
    outputs they need. Raises SpecError for images without targets that the task could learn, and DataError."""
    task.outputs = data.num_classes
    if not data.is_own:
        if not isinstance(task, Classification):
            raise SpecError(f"task {task.name!r} needs data of your own; {data.name} is for classification")
        return data
    return with_example(checked(data, task.check), task.inputs)


def data_for(spec: Spec, entry: Architecture | None = None) -> Data:
    """The data of a spec, with the image size, channels and normalisation that its model expects. Raises TrimError."""
    entry = entry or models.architecture(spec.model)
    return load_data(
        spec.data, image_size=lambda own: entry.size_for(own, spec.image_size), seed=spec.seed,
        channels=entry.channels_for(0, spec.channels) or None, normalize=entry.normalize,
        resize=spec.resize,
    )  # fmt: skip


def blank(
    model: str, num_classes: int, channels: int, image_size: int, convert: Convert | None = None,
    removable: Mapping[str, bool] | None = None, **options: int,
) -> ChannelGraph:  # fmt: skip
    """The graph of a registered architecture, without allocating its weights. If `convert` says so, it is the graph of
    the maxout network; raises SpecError if the conversion is impossible. `removable` is that of the spec."""
    entry = models.architecture(model)
    arguments = entry.arguments_for(num_classes, channels, image_size, options)
    example = entry.example_input(arguments)
    graph = trace(entry.empty(**arguments), example, **removable or {})
    if convert is None or convert.to != "maxout" or not convert.epochs:
        return graph
    return trace(group_on_meta(graph, convert.layers, convert.k), example, **graph.options)


# --- open an iteration of a run ---


@dataclass(frozen=True)
class Opened:
    """An iteration of a run: its network on `device`, as `graph`, and the data and the task to measure it with."""

    spec: Spec
    task: Task
    made: Checkpoint
    graph: ChannelGraph
    data: Data
    device: torch.device
    path: Path

    @property
    def example(self) -> Any:
        """One input for the network, on its device."""
        return moved(self.data.example_input, self.device)

    def batches(self, examples: int = 0) -> Batches:
        """The first `examples` validation examples (0: all)."""
        channels_last, size = is_channels_last(self.graph.model), evaluation_batch(self.data)
        split = self.data.validation.subset(examples)
        return Batches(split, self.data, size, self.device, channels_last=channels_last)

    def profile(self, examples: int = 0) -> Profile:
        """The profile of its layers, measured again."""
        tolerance, batches = self.spec.profile.tolerance, InputBatches(self.batches(examples), self.task)
        return apoz.profile(self.graph.model, batches, tolerance, graph=self.graph)


def open_iteration(
    folder: Path, run_id: str, iteration: int | None = None, device: str = "cpu", data: Data | None = None
) -> Opened:
    """Open an iteration of a run in the runs folder (default: the run's result). `data` can be passed if it is already
    loaded.

    Raises RunError, CheckpointError, DataError or SpecError if something is missing or has changed.
    """
    run = runs.open_run(folder, run_id)
    spec, placement = load(run / "spec.toml"), resolve(device)
    path = runs.checkpoint_path(run, runs.result_of(run) if iteration is None else iteration)
    made, graph = open_network(path, placement, spec.removable)
    task, found = task_for(spec.task), data_of_run(run, spec, data)
    task.outputs = found.num_classes
    return Opened(spec, task, made, graph, found, placement, path)


def open_network(
    path: str | Path, device: torch.device | None = None, removable: Mapping[str, bool] | None = None
) -> tuple[Checkpoint, ChannelGraph]:
    """Load a checkpoint and trace its network in evaluation mode, on `device` (default: the CPU). `removable` is that
    of its spec. Raises CheckpointError and NotTrimmable."""
    made = checkpoint.load(path)
    network, example = made.build().eval(), models.example_input(made.arguments, model=made.model)
    if device is not None:
        network, example = place(network, device, example), moved(example, device)
    return made, trace(network, example, **removable or {})
