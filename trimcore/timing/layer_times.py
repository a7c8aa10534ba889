"""Where the time of a network goes: the milliseconds of each layer, and of what lies between the layers."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from trimcore.compute.inputs import repeated
from trimcore.errors import TrimError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.timing.calls import Call, watch

ROUNDS, LIMIT_SECONDS = 20, 2.0


class LayerTime(NamedTuple):
    """Milliseconds per batch: of the layer's own calls, and of all calls that follow it up to the next layer, such as
    norms, activations and pooling."""

    own_ms: float
    after_ms: float


@dataclass(frozen=True)
class LayerTimes:
    """Medians in milliseconds per batch, in evaluation mode. `layers` are in the order in which they run. `before_ms`
    is what comes before the first of them. `outside_ms` is what Python and PyTorch take between the calls. `total_ms`
    is a pass that is not watched; it can differ from `sum_ms` by what the watching disturbs."""

    batch: int
    layers: dict[str, LayerTime]
    before_ms: float
    outside_ms: float
    total_ms: float

    @property
    def sum_ms(self) -> float:
        own = sum(time.own_ms + time.after_ms for time in self.layers.values())
        return own + self.before_ms + self.outside_ms

    def table(self) -> pd.DataFrame:
        """One row per layer: batch, layer, ms, after_ms, share (of the sum). The rows "(before)" and "(outside)" have
        the rest, so that the shares add up to 1. "(whole network)" is the measured total."""
        rows = [(name, time.own_ms, time.after_ms) for name, time in self.layers.items()]
        rows += [("(before)", 0.0, self.before_ms), ("(outside)", 0.0, self.outside_ms)]
        shares = [(own + after) / self.sum_ms for _, own, after in rows]
        table = pd.DataFrame(rows, columns=["layer", "ms", "after_ms"]).assign(share=shares)
        whole = pd.DataFrame([("(whole network)", self.total_ms, 0.0, 1.0)], columns=table.columns)
        table = pd.concat([table, whole], ignore_index=True)
        table.insert(0, "batch", self.batch)
        return table


def time_layers(
    graph: ChannelGraph, example: Any, batch: int = 1, rounds: int = ROUNDS, limit_seconds: float = LIMIT_SECONDS
) -> LayerTimes:
    """Time the traced network layer by layer, on the first example of `example` (N, ...) repeated to a batch.

    Network and example must be on the same device. On CUDA, times are those of the GPU's queue. Raises TrimError for a
    batch size or a number of rounds below 1.
    """
    if batch < 1 or rounds < 1:
        raise TrimError(f"timing needs a batch size and a number of rounds of 1 or more, not {batch} and {rounds}")
    watched = watch(graph, repeated(example, batch), rounds, limit_seconds)
    before, layers = by_layer(watched.calls)
    return LayerTimes(batch, layers, before, watched.outside_ms, watched.total_ms)


def by_layer(calls: list[Call]) -> tuple[float, dict[str, LayerTime]]:
    """The milliseconds before the first layer, and those of each layer."""
    before, layers, last = 0.0, dict[str, LayerTime](), ""
    for call in calls:
        own, after = layers.get(call.layer or last, LayerTime(0.0, 0.0))
        if call.layer:
            last = call.layer
            layers[last] = LayerTime(own + call.ms, after)
        elif last:
            layers[last] = LayerTime(own, after + call.ms)
        else:
            before += call.ms
    return before, layers
