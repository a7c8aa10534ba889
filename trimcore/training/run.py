"""A run in progress: the state that its phases share."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from trimcore.compute.layout import place
from trimcore.evaluation.accuracy import Measure
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.tracing import trace
from trimcore.layers import sharpened
from trimcore.runs.events import Event
from trimcore.scoring.apoz import Profile
from trimcore.scoring.relevance import UnitRelevance
from trimcore.timing.latency import BaselineTimer
from trimcore.training.measurement import Measurement
from trimcore.training.prepare import Prepared
from trimcore.training.progress import Progress


class Run:
    """A run in progress. `state` changes as the run proceeds; `graph` is always the graph of its network. `seen` is the
    profile of that network and `units` the relevance in its maxout units; None and empty until it is profiled."""

    def __init__(self, prepared: Prepared):
        self.spec, self.entry, self.data, self.device = prepared.spec, prepared.entry, prepared.data, prepared.device
        self.state, self.example, self.resumed = prepared.state, prepared.example, prepared.resumed
        self.notes, self.task, self.metric = prepared.notes, prepared.task, prepared.metric
        self.graph: ChannelGraph = prepared.graph
        self.seen: Profile | None = None
        self.units: dict[str, UnitRelevance] = {}
        self.progress = Progress(self.spec, self.state)
        timer = BaselineTimer(self._base_architecture, self.example)
        self.measurement = Measurement(prepared, timer, self.progress.measured)

    def measure(self, split: str) -> Measure:
        """The network's metrics on a split."""
        return self.measurement.metrics(self.state, split)

    def profile(self) -> Iterator[Event]:
        """Profile the network."""
        self.seen, self.units = yield from self.measurement.profile(self.state, self.graph)

    def retrace(self) -> None:
        """Trace the network again after its modules have changed."""
        self.graph = trace(self.state.network, self.example, **self.spec.removable)

    def snapshot(self) -> dict[str, Any]:
        """A snapshot to resume the run from."""
        return self.state.snapshot(self.spec.model)

    def finish(self, reason: str) -> None:
        """End the iterations. The control may still be trained."""
        control = self.spec.control.scratch and self.state.iteration > 0
        self.state.ended, self.state.phase, self.state.epoch = reason, "control" if control else "done", 0

    def _base_architecture(self) -> nn.Module:
        """The base model with new weights. It has the activations of the current network, so that only cuts change the
        latency."""
        network = place(self.entry.build(**self.state.arguments), self.device, self.example)
        return sharpened.to_relu(network) if self.state.activations else network
