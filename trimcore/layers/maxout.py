"""Maxout units (Goodfellow et al. 2013, arXiv 1302.4389), as pruned by Rueda et al. 2017 (arXiv 1707.06838)."""

from typing import cast

import torch
from torch import Tensor, nn

from trimcore.errors import SpecError


class Maxout(nn.Module):
    """Each unit outputs the maximum of k adjacent neurons: n channels along `dim` become n / k.

    (N, n, ...) -> (N, n / k, ...) for `dim` 1, after a convolution or linear layer. Unit u has neurons u * k to
    u * k + k - 1. With k = 1 this is the identity. Raises SpecError for k below 1, and ValueError if k does not divide
    the number of channels.
    """

    def __init__(self, k: int, dim: int = 1):
        super().__init__()
        if k < 1:
            raise SpecError(f"a maxout unit needs at least one neuron, not {k}")
        self.k, self.dim = k, dim

    def forward(self, x: Tensor) -> Tensor:
        return in_units(x, self.k, self.dim).amax(self.dim % x.dim() + 1)

    def extra_repr(self) -> str:
        return f"k={self.k}, dim={self.dim}"


def in_units(x: Tensor, k: int, dim: int = 1) -> Tensor:
    """Split the channels along `dim` into units of k neurons: (N, n, ...) -> (N, n / k, k, ...)."""
    if x.shape[dim] % k:
        raise ValueError(f"{x.shape[dim]} channels do not divide into maxout units of {k}")
    return torch.unflatten(x, dim, (-1, k))


def units_of(network: nn.Module) -> dict[str, int]:
    """Neurons per unit of each maxout module, by module name."""
    return {name: module.k for name, module in network.named_modules() if isinstance(module, Maxout)}


def set_units(network: nn.Module, units: dict[str, int]) -> nn.Module:
    """Set the neurons per unit of maxout modules, by name. A module with one neuron per unit becomes an identity.

    Changes and returns `network`.
    """
    for name, k in units.items():
        parent, _, child = name.rpartition(".")
        if k == 1:
            network.get_submodule(parent)._modules[child] = nn.Identity()
        else:
            cast(Maxout, network.get_submodule(name)).k = k
    return network
