"""An architecture with new weights: how long it takes does not depend on them."""

from collections.abc import Mapping

import torch

from trimcore import models
from trimcore.compute.inputs import moved
from trimcore.compute.layout import place
from trimcore.graph.tracing import trace
from trimcore.timing.layer_times import LayerTimes, time_layers


def time_architecture(
    model: str, arguments: Mapping[str, int], device: torch.device, batch: int, removable: Mapping[str, bool]
) -> LayerTimes:
    """The times of a registered architecture's layers. `arguments` are those of its builder. Raises TrimError."""
    entry = models.architecture(model)
    example = moved(entry.example_input(arguments), device)
    with torch.random.fork_rng(devices=[]):
        network = place(entry.build(**arguments).eval(), device, example)
    return time_layers(trace(network, example, **removable), example, batch)
