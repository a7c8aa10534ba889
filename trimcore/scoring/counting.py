"""Count zeros batch by batch, in one small vector per activation on the device. No activation is stored."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from trimcore.compute import distributed
from trimcore.compute.inputs import call
from trimcore.errors import TrimError
from trimcore.graph.channel_graph import ChannelGraph, Site
from trimcore.graph.probes import use_in_place_relus, with_probes
from trimcore.scoring.nonzero import count_nonzero


class Scales:
    """Accumulates the root mean square at each site without true zeros."""

    def __init__(self, graph: ChannelGraph, device: torch.device):
        self.graph, self.elements = graph, [0] * len(graph.sites)
        self.squares = [torch.zeros((), dtype=_accumulator_dtype(device), device=device) for _ in graph.sites]
        self._probed = with_probes(graph, self._add)

    def _add(self, x: Tensor, number: int) -> None:
        if not self.graph.sites[number].exact:
            # Sum each example first: these sums do not depend on the batch and are small enough for float32.
            squares = x.to(torch.promote_types(x.dtype, torch.float32)).square().sum(list(range(1, x.dim())))
            self.squares[number] += squares.sum(dtype=self.squares[number].dtype)
            self.elements[number] += x.numel()

    def network(self, x: Any) -> None:
        """Run the network on a batch."""
        call(self._probed, x)

    def limits(self, tolerance: float) -> list[float]:
        """`tolerance` * RMS at each site, 0 at sites with true zeros. Raises TrimError if an RMS is not finite."""
        distributed.sum_(*self.squares)
        self.elements, squares = distributed.totals(self.elements), torch.stack(self.squares).tolist()
        for square, site in zip(squares, self.graph.sites, strict=True):
            if not math.isfinite(square):
                raise _activation_error(site, self.graph, "NaN" if math.isnan(square) else "infinite")
        return [tolerance * math.sqrt(square / max(n, 1)) for square, n in zip(squares, self.elements, strict=True)]


class Counter:
    """Accumulates integer counts per site, on the device."""

    def __init__(self, graph: ChannelGraph, device: torch.device, limits: list[float], with_mean: bool):
        self.graph, self.limits, self.with_mean = graph, limits, with_mean
        self.nonzero = [torch.zeros(len(s.groups), dtype=torch.int64, device=device) for s in graph.sites]
        self.has_nan = torch.zeros((), dtype=torch.bool, device=device)
        self.sums = [torch.zeros(len(s.groups), dtype=_accumulator_dtype(device), device=device) for s in graph.sites]
        self.totals = [0] * len(graph.sites)
        self.network = use_in_place_relus(with_probes(graph, self._count))

    def add_batch(self, x: Any) -> None:
        """Count a batch. Raises TrimError if an activation is NaN, at once on a CPU and for the first batch. For later
        batches on other devices, `by_group` raises it, so that the counting need not wait for the device."""
        first = not any(self.totals)
        for output in tree_leaves(call(self.network, x)):
            if isinstance(output, Tensor) and output.is_floating_point():
                self.has_nan |= output.sum().isnan()  # a NaN propagates to the output
        if (first or self.has_nan.device.type == "cpu") and self.has_nan:
            self._locate_nan(x)

    def _locate_nan(self, x: Any) -> None:
        """Raise TrimError with the first layer whose activations are NaN, if any."""
        found: dict[int, bool] = {}
        probed = with_probes(self.graph, lambda x, number: found.setdefault(number, bool(x.isnan().any())))
        call(probed, x)
        for number, site in enumerate(self.graph.sites):
            if found.get(number):
                raise _activation_error(site, self.graph, "NaN")
        self.has_nan.fill_(False)  # the NaN comes from the last layer, after all activations

    def _count(self, x: Tensor, number: int) -> None:
        axis = self.graph.sites[number].axis
        nonzero, total = count_nonzero(x, axis, self.limits[number])
        self.nonzero[number] += nonzero
        self.totals[number] += total
        if self.with_mean:
            self.sums[number] += x.sum([d for d in range(x.dim()) if d != axis], dtype=self.sums[number].dtype)

    def by_group(self) -> tuple[Tensor, Tensor, Tensor]:
        """Zeros and positions, int64, and the mean activation, float64, of each channel group. (group_count,) each. The
        mean activation of a group without an activation is not a number.

        Raises TrimError if an activation was NaN.
        """
        distributed.sum_(*self.nonzero, *self.sums)
        self.totals, groups = distributed.totals(self.totals), self.graph.group_count
        zeros, totals = torch.zeros(groups, dtype=torch.int64), torch.zeros(groups, dtype=torch.int64)
        sums = torch.zeros(groups, dtype=torch.float64)
        if self.has_nan:
            raise TrimError("activations are NaN; the network or its input is damaged")
        for number, site in enumerate(self.graph.sites):
            seen = torch.full_like(site.groups, self.totals[number])
            totals.index_add_(0, site.groups, seen)
            zeros.index_add_(0, site.groups, seen - self.nonzero[number].cpu())
            sums.index_add_(0, site.groups, self.sums[number].cpu().double())
        return zeros, totals, sums / totals


def _activation_error(site: Site, graph: ChannelGraph, values: str) -> TrimError:
    layer = next((n for n in graph.layers if graph.layers[n].neurons[0] in site.groups), site.node)
    return TrimError(f"activations after layer {layer!r} are {values}; the network or its input is damaged")


def _accumulator_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # mps has no float64
