"""Recurrent layers whose hidden units are held at zero."""

import copy

from torch import Tensor, nn


def with_units_unread(layer: nn.RNNBase, units: Tensor) -> nn.RNNBase:
    """A copy of the layer in which no step reads the hidden units of the mask `units`, (hidden_size,). Other tensors
    are shared. Holding these units at zero in the results as well is then the same as holding them at every step."""
    same, masked = copy.copy(layer), dict[str, nn.Parameter | None](layer._parameters)
    for name, weight in layer._parameters.items():
        if weight is not None and _reads_hidden_units(name):
            columns = units.to(weight.device).repeat(weight.shape[1] // len(units))
            masked[name] = nn.Parameter(weight.detach().masked_fill(columns, 0))
    same._parameters = masked
    same._init_flat_weights()
    return same


def _reads_hidden_units(name: str) -> bool:
    later = name.startswith("weight_ih") and not name.removesuffix("_reverse").endswith("_l0")
    return later or name.startswith("weight_hh")
