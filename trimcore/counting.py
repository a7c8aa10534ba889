"""Counting zeros while batches pass: a small vector on the device for each activation; no activation is kept."""

import math

import torch
from torch import Tensor

from trimcore.errors import TrimError
from trimcore.graph import ChannelGraph, Site
from trimcore.watching import watched

EXACT_IN_FLOAT32 = 2**24  # counts below this have no rounding in float32


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
        squares = torch.stack(self.squares).tolist()
        for square, site in zip(squares, self.graph.sites, strict=True):
            if not math.isfinite(square):
                raise _damaged(site, self.graph, "numbers (NaN)" if math.isnan(square) else "finite")
        return [tolerance * math.sqrt(square / max(n, 1)) for square, n in zip(squares, self.elements, strict=True)]


class Counter:
    """Integer counts per site while batches pass, on the device. A NaN is remembered until somebody looks."""

    def __init__(self, graph: ChannelGraph, device: torch.device, limits: list[float], with_mean: bool):
        self.graph, self.limits, self.with_mean = graph, limits, with_mean
        self.nonzero = [torch.zeros(len(s.groups), dtype=torch.int64, device=device) for s in graph.sites]
        self.damaged = [torch.zeros((), dtype=torch.bool, device=device) for _ in graph.sites]
        self.sums = [torch.zeros(len(s.groups), dtype=_wide(device), device=device) for s in graph.sites]
        self.totals = [0] * len(graph.sites)
        self.network = watched(graph, self._count)

    def _count(self, x: Tensor, number: int) -> None:
        axis, limit = self.graph.sites[number].axis, self.limits[number]
        positions = x[:1].numel() // max(x.shape[axis], 1)
        for piece in x.split(max(1, (EXACT_IN_FLOAT32 - 1) // max(positions, 1))):
            nonzero, total = count_nonzero(piece, axis, limit)
            self.nonzero[number] += nonzero.nan_to_num(0).long()
            self.damaged[number] |= nonzero.isnan().any()
            self.totals[number] += total
        if self.with_mean:
            self.sums[number] += x.sum([d for d in range(x.dim()) if d != axis], dtype=self.sums[number].dtype)

    def by_group(self) -> tuple[Tensor, Tensor, Tensor]:
        """Zeros and positions, int64, and the mean activation, float64, of each channel group. (group_count,) each

        Raises TrimError where an activation was not a number.
        """
        groups = self.graph.group_count
        zeros, totals = torch.zeros(groups, dtype=torch.int64), torch.zeros(groups, dtype=torch.int64)
        sums = torch.zeros(groups, dtype=torch.float64)
        for site, damaged in zip(self.graph.sites, self.damaged, strict=True):
            if damaged:
                raise _damaged(site, self.graph, "numbers (NaN)")
        for number, site in enumerate(self.graph.sites):
            seen = torch.full_like(site.groups, self.totals[number])
            totals.index_add_(0, site.groups, seen)
            zeros.index_add_(0, site.groups, seen - self.nonzero[number].cpu())
            sums.index_add_(0, site.groups, self.sums[number].cpu().double())
        return zeros, totals, sums / totals.clamp(min=1)


def count_nonzero(x: Tensor, axis: int, limit: float = 0.0) -> tuple[Tensor, int]:
    """How many elements are beyond `limit` in magnitude for each index along `axis`, and how many there are for each.
    Limit 0: how many are not zero. NaN gives NaN.

    Summing ones and zeros in float32 is several times as fast as summing a comparison into int64, and exact while the
    count stays below 2^24; larger tensors are counted in halves. (`sign` would make a zero of NaN.)
    """
    dims = [d for d in range(x.dim()) if d != axis]
    total = x.numel() // max(x.shape[axis], 1)
    if total < EXACT_IN_FLOAT32:
        beyond = x.abs().sub_(limit).clamp_(0, 1) if limit else x.abs().clamp_max_(1)
        return beyond.ceil_().sum(dims, dtype=torch.float32), total
    halves = x.chunk(2, max(dims, key=lambda d: x.shape[d]))
    return sum(count_nonzero(half, axis, limit)[0].to(torch.float64) for half in halves), total


def _damaged(site: Site, graph: ChannelGraph, what: str) -> TrimError:
    layer = next((n for n in graph.layers if graph.layers[n].neurons[0] in site.groups), site.node)
    return TrimError(f"activations after layer {layer!r} are not {what}; the network or its input is damaged")


def _wide(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # mps has no float64
