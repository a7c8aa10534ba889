"""Predict the time of a network after a cut, before anything is cut.

A layer takes as long as it does alone at its new widths, times a factor for its place in the network, where caches are
colder. The factor, and what lies between the layers, are measured in the network itself and in copies of it from
which the same share of every layer is removed.
"""

import statistics
from bisect import bisect_left
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trimcore.compute.inputs import repeated
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.removal import Cut, removed_groups
from trimcore.surgery.cut import cut_groups
from trimcore.timing.calls import watch
from trimcore.timing.clock import device_of
from trimcore.timing.latency import compare_latency
from trimcore.timing.layer_shape import LayerShape, shape_of
from trimcore.timing.layer_times import LayerTime, by_layer
from trimcore.timing.width_tables import WidthTables

SHARES = (0.05, 0.25, 0.5, 0.75)  # kept of each layer in the copies
ROUNDS, LIMIT_SECONDS = 15, 2.0  # for each of the five networks
REPEATS = 3  # of a comparison on the clock
Curve = list[tuple[float, float]]  # share of the width -> value, ascending


class TimeModel:
    """Predicts milliseconds per batch. `base_ms` is the measured time of the whole network."""

    def __init__(self, graph: ChannelGraph, example: Any, batch: int = 1, folder: Path | None = None):
        """Measure the network, which takes some seconds, for the first example of `example` repeated to a batch.
        `folder` keeps the tables of single layers. Raises TrimError if there is not enough memory."""
        self.graph, self.batch = graph, batch
        self._x = repeated(example, batch)
        self.tables = WidthTables(device_of(self._x), folder)
        self._full = graph.fine.sizes(torch.zeros(graph.group_count, dtype=torch.bool))
        whole = watch(graph, self._x, ROUNDS, LIMIT_SECONDS)
        self.base_ms, self._outside = whole.total_ms, whole.outside_ms
        self._shapes: dict[str, list[LayerShape]] = {}
        for call in whole.calls:
            if call.layer:
                shape = shape_of(call, graph.fine.parts[call.layer], self._full[call.layer])
                self._shapes.setdefault(call.layer, []).extend([shape] if shape else [])
        self._before, layers = by_layer(whole.calls)
        self._factors: dict[str, Curve] = {}
        self._after: dict[str, Curve] = {}
        self._note(self._full, layers)
        for share in SHARES:
            removed = graph.to_fine(_uniform(graph, share))
            if bool(removed.any()):
                times = watch(cut_groups(graph, removed), self._x, ROUNDS, LIMIT_SECONDS)
                self._note(graph.fine.sizes(removed), by_layer(times.calls)[1])
        self._scale = self.base_ms / self._sum(self._full, exact=True)
        self.tables.save()

    def predict(self, plan: Cut, exact: bool = True) -> float:
        """Milliseconds after a cut. With `exact`, layers whose widths were never measured are measured alone; otherwise
        their times are interpolated. Raises NotTrimmable as `prune` does."""
        return self.without(removed_groups(self.graph, plan), exact)

    def without(self, removed: Tensor, exact: bool = False) -> float:
        """As `predict`, without the channel groups of the mask `removed`, over the groups of `graph.fine`."""
        return self._scale * self._sum(self.graph.fine.sizes(removed), exact)

    def measure(self, removed: Tensor, rounds: int = ROUNDS) -> float:
        """Milliseconds of the network that is cut for real, as `without`. Both networks are timed in turns, and the
        result is for a machine that is as busy as it was when `base_ms` was measured."""
        smaller, ratios = cut_groups(self.graph, removed).model, []
        for _ in range(REPEATS):  # a busy second must not decide
            (row,) = compare_latency(self.graph.model, smaller, self._x, [self.batch], rounds, LIMIT_SECONDS)
            ratios.append(row.ratio)
        return self.base_ms / statistics.median(ratios)

    def _sum(self, sizes: dict[str, dict[str, int]], exact: bool) -> float:
        total = self._before + self._outside
        for name, after in self._after.items():
            total += self._own(name, sizes[name], exact) + _at(after, _share(sizes[name], self._full[name], "out"))
        return total

    def _own(self, name: str, sizes: dict[str, int], exact: bool) -> float:
        return self._alone(name, sizes, exact) * _at(self._factors[name], _share(sizes, self._full[name]))

    def _alone(self, name: str, sizes: dict[str, int], exact: bool) -> float:
        """The layer's time outside of the network; 1 for layers that are only known inside of it."""
        look_up = self.tables.ms if exact else self.tables.estimate
        return sum(look_up(shape, sizes) for shape in self._shapes[name]) or 1.0

    def _note(self, sizes: dict[str, dict[str, int]], layers: dict[str, LayerTime]) -> None:
        """Add what one network shows to the curves."""
        for name, times in layers.items():
            own, full = sizes[name], self._full[name]
            factor = times.own_ms / self._alone(name, own, exact=True)
            _add(self._factors.setdefault(name, []), _share(own, full), factor)
            _add(self._after.setdefault(name, []), _share(own, full, "out"), times.after_ms)


def _share(sizes: dict[str, int], full: dict[str, int], role: str = "") -> float:
    """The share of the width that is left: of one role, or the geometric mean of all."""
    roles = [role] if role in sizes else list(sizes)
    product = 1.0
    for each in roles:
        product *= sizes[each] / max(1, full[each])
    return float(product ** (1 / max(1, len(roles))))


def _add(curve: Curve, share: float, value: float) -> None:
    if share not in (known for known, _ in curve):
        curve.append((share, value))
        curve.sort()


def _at(curve: Curve, share: float) -> float:
    """Linear between points. Below the first point, its value holds."""
    place = bisect_left(curve, (share,))
    if place == 0:
        return curve[0][1]
    if place == len(curve):
        return curve[-1][1]
    (low, at_low), (high, at_high) = curve[place - 1], curve[place]
    return at_low + (at_high - at_low) * (share - low) / (high - low)


def _uniform(graph: ChannelGraph, share: float) -> Tensor:
    """Mask of groups without which every layer keeps about this share of its neurons, at least one. (group_count,)"""
    order = torch.randperm(graph.group_count, generator=torch.Generator().manual_seed(0))
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    removed = torch.zeros(graph.group_count, dtype=torch.bool)
    for layer in graph.layers.values():
        groups = torch.unique(layer.neurons)
        free = groups[graph.removable[groups]]
        free = free[rank[free].argsort()]
        left = int((~removed[groups]).sum()) - max(1, round(share * len(groups)))
        free = free[~removed[free]][: max(0, left)]
        removed[free] = True
    for layer in graph.layers.values():  # a later layer may have taken the rest of an earlier one
        if layer.width and bool(removed[layer.neurons].all()):
            removed[layer.neurons[0]] = False
    return removed
