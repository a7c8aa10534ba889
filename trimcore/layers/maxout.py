"""Maxout units (Goodfellow et al. 2013, arXiv 1302.4389; as Rueda et al. 2017, arXiv 1707.06838, prune them)."""

from typing import cast

import torch
from torch import Tensor, nn

from trimcore.errors import SpecError


class Maxout(nn.Module):
    """k adjacent neurons feed one unit, which gives their maximum: n channels along `dim` become n / k.

    (N, n, ...) -> (N, n / k, ...) for `dim` 1, behind a convolution or a linear layer; unit u has the neurons u * k to
    u * k + k - 1. With k = 1 the maximum is the identity. Raises SpecError for k below 1, and ValueError for a number
    of channels that k does not divide.
    """

    def __init__(self, k: int, dim: int = 1):
        super().__init__()
        if k < 1:
            raise SpecError(f"a maxout unit has at least one neuron, not {k}")
        self.k, self.dim = k, dim

    def forward(self, x: Tensor) -> Tensor:
        return in_units(x, self.k, self.dim).amax(self.dim % x.dim() + 1)

    def extra_repr(self) -> str:
        return f"k={self.k}, dim={self.dim}"


def in_units(x: Tensor, k: int, dim: int = 1) -> Tensor:
    """x with its channels along `dim` as units by neurons: (N, n, ...) -> (N, n / k, k, ...)."""
    if x.shape[dim] % k:
        raise ValueError(f"{x.shape[dim]} channels are no whole number of maxout units of {k}")
    return torch.unflatten(x, dim, (-1, k))


def units_of(network: nn.Module) -> dict[str, int]:
    """The maxout modules of a network by name, with how many neurons a unit has."""
    return {name: module.k for name, module in network.named_modules() if isinstance(module, Maxout)}


def set_units(network: nn.Module, units: dict[str, int]) -> nn.Module:
    """Give maxout modules, by name, so many neurons a unit. With one the maximum disappears: an identity takes its
    place. Changes `network`, and returns it."""
    for name, k in units.items():
        parent, _, child = name.rpartition(".")
        if k == 1:
            network.get_submodule(parent)._modules[child] = nn.Identity()
        else:
            cast(Maxout, network.get_submodule(name)).k = k
    return network
