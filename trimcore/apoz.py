"""APoZ, the average percentage of zeros of a neuron after its activation (Hu et al. 2016, arXiv 1607.03250, eq. 1):

    APoZ(O_c) = sum_k^N sum_j^M f(O_c,j(k) = 0) / (N * M)        f(true) = 1, f(false) = 0

with N examples and M positions of the neuron's output map. All zero gives 1, never zero gives 0; high means redundant.
"""

import copy
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from trimcore.errors import DataError, TrimError
from trimcore.graph import ChannelGraph, Site
from trimcore.modes import in_mode
from trimcore.tracing import trace

EXACT_IN_FLOAT32 = 2**24  # counts below this have no rounding in float32


@dataclass(frozen=True)
class LayerProfile:
    """Counts of one layer. `zeros` and `totals` (N * M) are int64 (width,); neurons that no activation shows have
    totals 0. `candidates` are the neurons that may go. `mean_activation` (width,) is there when it was asked for."""

    layer: str
    kind: str
    zeros: Tensor
    totals: Tensor
    candidates: tuple[int, ...]
    mean_activation: Tensor | None = None

    @property
    def width(self) -> int:
        return len(self.zeros)

    @property
    def apoz(self) -> Tensor:
        """APoZ of each neuron, 0..1, float64. (width,)"""
        return self.zeros.double() / self.totals.clamp(min=1)


@dataclass(frozen=True)
class Profile:
    """What one pass over `examples` examples showed, by layer in depth order."""

    examples: int
    layers: dict[str, LayerProfile]
    seconds: float = 0.0

    def __getitem__(self, layer: str) -> LayerProfile:
        return self.layers[layer]


def profile(
    model: nn.Module,
    loader: Iterable,
    *,
    graph: ChannelGraph | None = None,
    mean_activation: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Profile:
    """Count the zeros after every activation of `model`, for all trimmable layers in one evaluation pass.

    `loader` yields batches, or tuples that begin with one; they are moved to the model's device. `progress` is called
    with the number of examples seen so far. A neuron whose channel passes several activations (in a residual stream)
    gets the zeros of all of them over the positions of all of them, since it is removed from all.

    Counts are exact integers; memory is O(neurons); the device is waited for once, at the end. Mode, weights, buffers
    and hooks of the model are afterwards as they were. Raises DataError for an empty loader and TrimError when an
    activation is not a number.
    """
    counting = profiling(model, loader, graph=graph, mean_activation=mean_activation)
    while True:
        try:
            seen = next(counting)
        except StopIteration as end:
            return end.value
        if progress:
            progress(seen)


def profiling(
    model: nn.Module, loader: Iterable, *, graph: ChannelGraph | None = None, mean_activation: bool = False
) -> Generator[int, None, Profile]:
    """`profile`, batch by batch: yields the number of examples seen so far and returns the profile.

    Between two batches the model is in its own mode, whatever the caller does with it then.
    """
    start, device, counter, network, examples = time.perf_counter(), _device(model), None, None, 0
    for batch in loader:
        x = (batch[0] if isinstance(batch, tuple | list) else batch).to(device, non_blocking=True)
        with in_mode(model, training=False), torch.inference_mode():
            if counter is None:
                graph = graph or trace(model, x)
                counter = Counter(graph, device, mean_activation)
                network = counter.attach()
            network(x)
        examples += len(x)
        yield examples
    if counter is None:
        raise DataError("no examples to profile on: the loader is empty")
    return Profile(examples, counter.layers(), time.perf_counter() - start)


class Counter:
    """Integer counts per site while batches pass, on the device. A NaN is remembered until somebody looks."""

    def __init__(self, graph: ChannelGraph, device: torch.device, with_mean: bool):
        dtype = torch.float32 if device.type == "mps" else torch.float64  # mps has no float64
        self.graph, self.with_mean = graph, with_mean
        self.nonzero = [torch.zeros(len(s.groups), dtype=torch.int64, device=device) for s in graph.sites]
        self.damaged = [torch.zeros((), dtype=torch.bool, device=device) for _ in graph.sites]
        self.sums = [torch.zeros(len(s.groups), dtype=dtype, device=device) for s in graph.sites]
        self.totals = [0] * len(graph.sites)

    def attach(self) -> fx.GraphModule:
        """The network with a count behind each activation. It shares all modules with the original."""
        graph = copy.deepcopy(self.graph.graph)
        nodes = {node.name: node for node in graph.nodes}
        for index, site in enumerate(self.graph.sites):
            with graph.inserting_after(nodes[site.node]):
                graph.call_function(self.count, (nodes[site.node], index, site.axis))
        return fx.GraphModule(self.graph.model, graph)

    def count(self, x: Tensor, index: int, axis: int) -> None:
        positions = x[:1].numel() // max(x.shape[axis], 1)
        for piece in x.split(max(1, (EXACT_IN_FLOAT32 - 1) // max(positions, 1))):
            nonzero, total = count_nonzero(piece, axis)
            self.nonzero[index] += nonzero.nan_to_num(0).long()
            self.damaged[index] |= nonzero.isnan().any()
            self.totals[index] += total
        if self.with_mean:
            self.sums[index] += x.sum([d for d in range(x.dim()) if d != axis], dtype=self.sums[index].dtype)

    def layers(self) -> dict[str, LayerProfile]:
        groups = self.graph.group_count
        zeros, totals = torch.zeros(groups, dtype=torch.int64), torch.zeros(groups, dtype=torch.int64)
        sums = torch.zeros(groups, dtype=torch.float64)
        for site, damaged in zip(self.graph.sites, self.damaged, strict=True):
            _check_numbers(damaged, site, self.graph)
        for site, nonzero, activation, total in zip(
            self.graph.sites, self.nonzero, self.sums, self.totals, strict=True
        ):
            seen = torch.full_like(site.groups, total)
            totals.index_add_(0, site.groups, seen)
            zeros.index_add_(0, site.groups, seen - nonzero.cpu())
            sums.index_add_(0, site.groups, activation.cpu().double())
        means = sums / totals.clamp(min=1)
        found = {}
        for name in self.graph.trimmable():
            layer = self.graph.layers[name]
            index = layer.neurons
            found[name] = LayerProfile(
                name, layer.kind, zeros[index], totals[index], tuple(self.graph.candidates(name)),
                means[index] if self.with_mean else None,
            )  # fmt: skip
        return found


def count_nonzero(x: Tensor, axis: int) -> tuple[Tensor, int]:
    """How many elements are not zero for each index along `axis`, and how many there are for each. NaN gives NaN.

    Summing ones and zeros in float32 is several times as fast as summing a comparison into int64, and exact while the
    count stays below 2^24; larger tensors are counted in halves. (`sign` would make a zero of NaN.)
    """
    dims = [d for d in range(x.dim()) if d != axis]
    total = x.numel() // max(x.shape[axis], 1)
    if total < EXACT_IN_FLOAT32:
        return x.abs().clamp_max_(1).ceil_().sum(dims, dtype=torch.float32), total
    halves = x.chunk(2, max(dims, key=lambda d: x.shape[d]))
    return sum(count_nonzero(half, axis)[0].to(torch.float64) for half in halves), total


def _check_numbers(damaged: Tensor, site: Site, graph: ChannelGraph) -> None:
    if damaged:
        layer = next((n for n in graph.layers if graph.layers[n].neurons[0] in site.groups), site.node)
        raise TrimError(f"activations after layer {layer!r} are not numbers (NaN); the network or its input is damaged")


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
