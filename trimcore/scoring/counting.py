"""Counting zeros while batches pass: a small vector on the device for each activation; no activation is kept."""

import math

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from trimcore.compute import distributed
from trimcore.errors import TrimError
from trimcore.graph.channel_graph import ChannelGraph, Site
from trimcore.graph.probes import rectifying_in_place, watched
from trimcore.scoring.nonzero import count_nonzero


class Scales:
    """The root mean square at each site without true zeros, while batches pass."""

    def __init__(self, graph: ChannelGraph, device: torch.device):
        self.graph, self.elements = graph, [0] * len(graph.sites)
        self.squares = [torch.zeros((), dtype=_wide(device), device=device) for _ in graph.sites]
        self.network = watched(graph, self._add)

    def _add(self, x: Tensor, number: int) -> None:
        if not self.graph.sites[number].exact:
            # By example first: such sums are the same whatever the batch, and far from where float32 rounds badly.
            squares = x.to(torch.promote_types(x.dtype, torch.float32)).square().sum(list(range(1, x.dim())))
            self.squares[number] += squares.sum(dtype=self.squares[number].dtype)
            self.elements[number] += x.numel()

    def limits(self, tolerance: float) -> list[float]:
        """`tolerance` * RMS at each site, 0 at those with true zeros. Raises TrimError where it is not finite."""
        distributed.sum_(*self.squares)
        self.elements, squares = distributed.totals(self.elements), torch.stack(self.squares).tolist()
        for square, site in zip(squares, self.graph.sites, strict=True):
            if not math.isfinite(square):
                raise _damaged(site, self.graph, "numbers (NaN)" if math.isnan(square) else "finite")
        return [tolerance * math.sqrt(square / max(n, 1)) for square, n in zip(squares, self.elements, strict=True)]


class Counter:
    """Integer counts per site while batches pass, on the device."""

    def __init__(self, graph: ChannelGraph, device: torch.device, limits: list[float], with_mean: bool):
        self.graph, self.limits, self.with_mean = graph, limits, with_mean
        self.nonzero = [torch.zeros(len(s.groups), dtype=torch.int64, device=device) for s in graph.sites]
        self.damaged = torch.zeros((), dtype=torch.bool, device=device)
        self.sums = [torch.zeros(len(s.groups), dtype=_wide(device), device=device) for s in graph.sites]
        self.totals = [0] * len(graph.sites)
        self.network = rectifying_in_place(watched(graph, self._count))

    def see(self, x: Tensor) -> None:
        """Count a batch. Raises TrimError where an activation is not a number: at once where that can be known without
        waiting for the device, and for the first batch."""
        first = not any(self.totals)
        for output in tree_leaves(self.network(x)):
            if isinstance(output, Tensor) and output.is_floating_point():
                self.damaged |= output.sum().isnan()  # what is not a number spreads to the end
        if (first or x.device.type == "cpu") and self.damaged:
            self._name_the_damaged(x)

    def _name_the_damaged(self, x: Tensor) -> None:
        found: dict[int, bool] = {}
        watched(self.graph, lambda x, number: found.setdefault(number, bool(x.isnan().any())))(x)
        for number, site in enumerate(self.graph.sites):
            if found.get(number):
                raise _damaged(site, self.graph, "numbers (NaN)")
        self.damaged.fill_(False)  # it is the last layer, and no activation

    def _count(self, x: Tensor, number: int) -> None:
        axis = self.graph.sites[number].axis
        nonzero, total = count_nonzero(x, axis, self.limits[number])
        self.nonzero[number] += nonzero
        self.totals[number] += total
        if self.with_mean:
            self.sums[number] += x.sum([d for d in range(x.dim()) if d != axis], dtype=self.sums[number].dtype)

    def by_group(self) -> tuple[Tensor, Tensor, Tensor]:
        """Zeros and positions, int64, and the mean activation, float64, of each channel group. (group_count,) each

        Raises TrimError where an activation was not a number.
        """
        distributed.sum_(*self.nonzero, *self.sums)
        self.totals, groups = distributed.totals(self.totals), self.graph.group_count
        zeros, totals = torch.zeros(groups, dtype=torch.int64), torch.zeros(groups, dtype=torch.int64)
        sums = torch.zeros(groups, dtype=torch.float64)
        if self.damaged:
            raise TrimError("activations of a batch are not numbers (NaN); the network or its input is damaged")
        for number, site in enumerate(self.graph.sites):
            seen = torch.full_like(site.groups, self.totals[number])
            totals.index_add_(0, site.groups, seen)
            zeros.index_add_(0, site.groups, seen - self.nonzero[number].cpu())
            sums.index_add_(0, site.groups, self.sums[number].cpu().double())
        return zeros, totals, sums / totals.clamp(min=1)


def _damaged(site: Site, graph: ChannelGraph, what: str) -> TrimError:
    layer = next((n for n in graph.layers if graph.layers[n].neurons[0] in site.groups), site.node)
    return TrimError(f"activations after layer {layer!r} are not {what}; the network or its input is damaged")


def _wide(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # mps has no float64
