"""What a run measures between training phases: accuracy, zeros, relevance, verification, cost and time."""

import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from trimcore.compute import distributed
from trimcore.compute.layout import is_channels_last
from trimcore.data.batches import Batches
from trimcore.data.dataset import Split
from trimcore.evaluation import verification
from trimcore.evaluation.accuracy import Measure, evaluate, evaluation_batch
from trimcore.evaluation.embedding import embedder
from trimcore.files.checkpoint import FORMAT, Checkpoint
from trimcore.files.sparse import sizes
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import cost_of, nonzero_parameters
from trimcore.runs.events import Event
from trimcore.scoring import relevance
from trimcore.scoring.apoz import Profile, passes, profiling
from trimcore.scoring.relevance import UnitRelevance
from trimcore.tasks.batches import InputBatches
from trimcore.timing.latency import BaselineTimer
from trimcore.training.prepare import Prepared
from trimcore.training.state import State

MOST_CLASSES = 1_000  # above this, class accuracies are not recorded
MakeProgress = Callable[[str, int, int, float], Event]  # phase, examples done, examples in total, examples per second
Events = Generator[Event, None, None]
Relevance = dict[str, UnitRelevance]  # by layer
Found = TypeVar("Found")


class Measurement:
    """Measures networks on a run's data and device. `timer` measures latency; `progress` makes progress events."""

    def __init__(self, prepared: Prepared, timer: BaselineTimer, progress: MakeProgress):
        self.spec, self.data, self.pairs, self.device = prepared.spec, prepared.data, prepared.pairs, prepared.device
        self.task, self.metric = prepared.task, prepared.metric
        self.timer, self.progress = timer, progress

    def metrics(self, state: State, split: str) -> Measure:
        return evaluate(state.network, getattr(self.data, split), self.data, self.device, self.task)

    def profile(self, state: State, graph: ChannelGraph) -> Generator[Event, None, tuple[Profile, Relevance]]:
        """Count zeros on the validation split and maxima of maxout units on the train split. Returns both."""
        split, tolerance = self.data.validation.subset(self.spec.profile.examples), self.spec.profile.tolerance
        criteria = self.spec.criteria
        # Taylor needs gradients, and therefore as much memory as training.
        most = evaluation_batch(self.data)
        batch_size = min(most, self.spec.retrain.batch_size) if "taylor" in criteria else most
        counting = profiling(
            state.network, InputBatches(self._batches(state, split, batch_size), self.task), tolerance, graph=graph,
            mean_activation="mean-activation" in criteria, taylor="taylor" in criteria,
        )  # fmt: skip
        parts = distributed.world()
        seen = yield from self._with_progress("profile", counting, len(split) * passes(graph, tolerance), parts)
        units: Relevance = {}
        if graph.units:
            split = self.data.train.subset(self.spec.profile.relevance_examples)
            maximal = relevance.measuring(
                state.network, InputBatches(self._batches(state, split, most), self.task), graph=graph
            )
            units = yield from self._with_progress("relevance", maximal, len(split), parts)
        yield Event("profiled", {
            "iteration": state.iteration, "examples": seen.examples, "seconds": seen.seconds,
            "layers": profiled_layers(seen, graph, state.origins),
            "units": {name: _unit_counts(found, state.origins[name]) for name, found in units.items()},
        })  # fmt: skip
        return seen, units

    def verified(self, state: State, graph: ChannelGraph) -> Generator[Event, None, dict[str, float]]:
        """Run the verification if the spec asks for one. Returns its columns of the iteration's row."""
        if self.pairs is None:
            return {}
        begin, distance = time.perf_counter(), self.spec.verify.distance
        counting = verification.verifying(graph, self.pairs, self.data, self.device, distance)
        found = yield from self._with_progress("verify", counting, len(self.pairs.images))
        yield Event("verified", {
            "iteration": state.iteration, **asdict(found), "pairs": self.pairs.name, "count": found.pairs,
            "layer": embedder(graph)[1], "seconds": time.perf_counter() - begin,
        })  # fmt: skip
        return {"verification": found.accuracy, "verification_error": found.standard_error}

    def by_class(self, test: Measure, validation: Measure) -> dict[str, dict[str, Any]]:
        """The per-class entries of an event, `class_accuracy` and `class_examples` by split; {} above MOST_CLASSES."""
        if not test.by_class or not self.metric.is_accuracy or self.data.num_classes > MOST_CLASSES:
            return {}
        measures = {"validation": validation, "test": test}
        return {
            "class_accuracy": {split: measure.class_accuracy for split, measure in measures.items()},
            "class_examples": {split: list(measure.class_examples) for split, measure in measures.items()},
        }

    def row(
        self, state: State, graph: ChannelGraph, made: Checkpoint, test: Measure, validation: Measure
    ) -> dict[str, Any]:
        """The measured columns of the iteration's row in iterations.csv, and its per-class entries. `made` is the
        checkpoint to be saved."""
        cost, base = cost_of(graph), state.base
        dense, sparse = sizes(made.state, {"format": FORMAT, **made.entries})
        return {
            "widths": cost.widths,
            "parameters": cost.parameters,
            "compression": base["parameters"] / cost.parameters,
            "macs": cost.macs,
            "macs_ratio": base["macs"] / cost.macs,
            "nonzero_parameters": nonzero_parameters(state.network),
            **self.metric.fields({"accuracy_final": test.value, "validation_accuracy": validation.value}),
            "loss_final": test.loss,
            **({"metrics": {"test": test.metrics, "validation": validation.metrics}} if test.metrics else {}),
            **(self.timer.columns(state.network, self.spec.retrain.batch_size) if distributed.is_first() else {}),
            "k": dict(state.units),
            "bytes_dense": dense,
            "bytes_sparse": sparse,
            **self.by_class(test, validation),
        }

    def _batches(self, state: State, split: Split, batch_size: int) -> Batches:
        size, channels_last = batch_size * distributed.world(), is_channels_last(state.network)
        return Batches(split, self.data, size, self.device, channels_last=channels_last, shared=True)

    def _with_progress(
        self, phase: str, counting: Generator[int, None, Found], total: int, parts: int = 1
    ) -> Generator[Event, None, Found]:
        """Turn running counts of examples into progress events. `parts` is the number of processes that share the
        examples. Returns the result of the generator."""
        begin = time.perf_counter()
        while True:
            try:
                seen = next(counting)
            except StopIteration as end:
                found: Found = end.value
                return found
            seen = min(total, seen * parts)
            yield self.progress(phase, seen, total, seen / (time.perf_counter() - begin))


def profiled_layers(seen: Profile, graph: ChannelGraph, origins: Mapping[str, list[int]]) -> dict[str, dict[str, Any]]:
    """A profile as the `layers` of an event `profiled`. `origins` are the indices of the neurons in the base model."""
    costs = cost_of(graph).layers
    return {
        name: {
            "kind": layer.kind, "width": layer.width,
            "parameters": costs[name].parameters, "macs": costs[name].macs,
            "tolerance": layer.tolerance, "limits": list(layer.limits),
            "apoz": [None if math.isnan(value) else round(value, 6) for value in layer.apoz.tolist()],
            "original": origins[name],
            **layer.tied_groups(),
            **({"heads": graph.heads[name]} if name in graph.heads else {}),
        }
        for name, layer in seen.layers.items()
    }  # fmt: skip


def _unit_counts(found: UnitRelevance, origins: list[int]) -> dict[str, Any]:
    return {
        "k": found.k, "examples": found.examples, "positions": found.positions, "shares": found.shares,
        "counts": found.counts.tolist(), "original": origins,
    }  # fmt: skip
