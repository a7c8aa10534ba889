"""Inspect one neuron: its weights, what excites it, what is removed with it, and the cost of removing it alone.

The cost is exact: the network is measured with the neuron's activations held at zero, which is equivalent to removing
it (see `surgery`). A neuron of a maxout unit is held at zero alone; the unit keeps its other neurons.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trimcore.compute.generators import finished
from trimcore.compute.layout import is_channels_last
from trimcore.compute.modes import in_mode
from trimcore.compute.outputs import scores_of
from trimcore.data import Data
from trimcore.data.batches import Batches
from trimcore.data.dataset import Split
from trimcore.data.items import Items
from trimcore.errors import DataError, SpecError, TrimError
from trimcore.evaluation.accuracy import EVALUATION_BATCH, Measure
from trimcore.evaluation.neuron_place import Place, removal, weights_of
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.probes import with_probes
from trimcore.scoring.counting import Scales
from trimcore.scoring.nonzero import count_nonzero
from trimcore.spec import DEFAULT_TOLERANCE

BINS = 40
PASSES = 2  # over the examples: the range of the activations first, then everything else


@dataclass(frozen=True)
class Neuron:
    """The result of `inspect`. Tensors are on the CPU.

    `weights` are the neuron's incoming weights: (in, kh, kw) for a convolution; (in,) for a linear layer, or
    (channels, h, w) behind a flattened map. `norm` is their L2 norm. Removing the neuron saves `parameters` and `macs`;
    `takes` has the parameters by tensor. It also removes the neurons `together` of its layer, which include the neuron
    itself. `mates` are the other neurons of its maxout unit.

    `zeros` and `totals`, int64 (classes,), count over all activations that the neuron passes, as `apoz.profile` does
    (in a maxout unit: this neuron alone). The other fields describe the activation right after its layer, whose maps
    have the shape `size`. `histogram`, int64 (BINS,), has the bins between `edges`, float64 (BINS + 1,); a value on an
    edge belongs to the bin above, and `exact_zeros` are counted separately. `silent` is the number of images whose
    whole map counts as zero. `exciting` lists the images with the largest activations: (image, largest activation,
    (row, column) of its first occurrence). `maps`, float32 (h, w), are those of the requested images. `before` and
    `without` measure the network unchanged, and with the neuron held at zero.
    """

    weights: Tensor
    bias: float | None
    norm: float
    takes: dict[str, int]
    parameters: int
    macs: int
    together: tuple[int, ...]
    mates: tuple[int, ...]
    zeros: Tensor
    totals: Tensor
    size: tuple[int, int]
    histogram: Tensor
    edges: Tensor
    exact_zeros: int
    silent: int
    exciting: tuple[tuple[int, float, tuple[int, int]], ...]
    before: Measure
    without: Measure
    maps: dict[int, Tensor]

    @property
    def apoz(self) -> float:
        return int(self.zeros.sum()) / int(self.totals.sum())

    @property
    def apoz_by_class(self) -> Tensor:
        """0..1, NaN for a class without examples. (classes,) float64"""
        return self.zeros.double() / self.totals


def inspect(
    graph: ChannelGraph, layer: str, neuron: int, split: Split, data: Data, device: torch.device | str, **how: Any
) -> Neuron:
    """Inspect one neuron of a network on `device`. See `inspecting`."""
    return finished(inspecting(graph, layer, neuron, split, data, device, **how))


def inspecting(
    graph: ChannelGraph, layer: str, neuron: int, split: Split, data: Data, device: torch.device | str, *,
    examples: int = 0, images: Sequence[int] = (), most: int = 9, tolerance: float = DEFAULT_TOLERANCE,
) -> Generator[int, None, Neuron]:  # fmt: skip
    """`inspect` as a generator that yields the number of images seen so far, over all PASSES.

    The first `examples` of `split` are used (0: all), normalised like `data`. At most `most` exciting images are
    listed; ties go to the first image, and images on which the neuron never fires are left out. `images` are the
    indices in the split of the images whose maps are returned. Unreadable images are skipped; the others keep their
    indices. `tolerance` defines near zero, as in `apoz.profile`. The network's mode and weights are unchanged.

    Raises NotTrimmable for a layer or neuron that does not exist or cannot be removed, SpecError for a number out of
    range, DataError if no image can be read or the classes do not match, and TrimError for a non-finite activation.
    """
    place = Place(graph, layer, neuron)
    if not 0 <= tolerance <= 1:
        raise SpecError(f"tolerance = {tolerance}: it must be a share of the root mean square, from 0 to 1")
    if examples < 0 or most < 0:
        raise SpecError(f"examples = {examples}, most = {most}: both must be 0 or more")
    device, used = torch.device(device), split.subset(examples)
    maps = _maps(place, split, data, device, images)
    ranges = _Ranges(place, device)
    done = yield from _passed(place, used, data, device, lambda x, _: ranges.network(x))
    if not done:
        raise DataError(f"none of the {len(used)} images can be read")
    seen = _Seen(place, ranges, tolerance, used.labels, data.num_classes)
    for more in _passed(place, used, data, device, seen.see):
        yield done + more
    return Neuron(**weights_of(place, device), **removal(graph, place), **seen.found(most), maps=maps)


class _Ranges(Scales):
    """The root mean squares that define near zero, and the lowest and highest activation of the neuron."""

    def __init__(self, place: Place, device: torch.device):
        self.place, self.bounds = place, torch.zeros(2, dtype=torch.float64)
        super().__init__(place.graph, device)

    def _add(self, x: Tensor, number: int) -> None:
        super()._add(x, number)
        y = self.place.maps(x, number).double()
        if not y.isfinite().all():
            raise TrimError(f"activations after layer {self.place.layer!r} are not finite; the network is damaged")
        if number == self.place.number:
            self.bounds = torch.stack([torch.minimum(self.bounds[0], y.min()), torch.maximum(self.bounds[1], y.max())])


class _Seen:
    """Collects the neuron's statistics over the batches. They cover one neuron only, so they are kept on the CPU."""

    def __init__(self, place: Place, ranges: _Ranges, tolerance: float, labels: Tensor, classes: int):
        self.place, self.limits, self.labels = place, ranges.limits(tolerance), labels.cpu()
        self.zeros, self.totals = torch.zeros(2, classes, dtype=torch.int64)
        low, high = ranges.bounds.tolist()
        self.edges = torch.linspace(low, high if high > low else 1.0, BINS + 1, dtype=torch.float64)
        self.histogram, self.exact_zeros, self.silent = torch.zeros(BINS, dtype=torch.int64), 0, 0
        self.strongest: list[tuple[float, int, int]] = []  # -largest activation, image, index in the flattened map
        self.measures = [[0, 0.0, 0], [0, 0.0, 0]]  # correct, loss, examples: unchanged, and without the neuron
        self.networks = [with_probes(place.graph, self._look), with_probes(place.graph, place.held, replace=True)]

    def see(self, x: Tensor, which: Tensor) -> None:
        self.which, labels = which, self.labels[which]
        for network, measure in zip(self.networks, self.measures, strict=True):
            scores = network(x)
            scores = scores_of(scores).cpu().double()
            if scores.dim() != 2 or scores.shape[1] < len(self.zeros):
                raise DataError(f"{len(self.zeros)} classes need as many scores, not shape {tuple(scores.shape)}")
            measure[0] += int((scores.argmax(1) == labels).sum())
            measure[1] += float(F.cross_entropy(scores, labels, reduction="sum"))
            measure[2] += len(labels)

    def _look(self, x: Tensor, number: int) -> None:
        maps = self.place.maps(x, number)
        if len(maps) != len(self.which):
            raise TrimError(f"an activation has shape {tuple(x.shape)}, but axis 0 must be the examples")
        nonzero, positions = count_nonzero(maps.flatten(1), 0, self.limits[number])
        self.totals.index_add_(0, self.labels[self.which], torch.full_like(self.which, positions))
        self.zeros.index_add_(0, self.labels[self.which], positions - nonzero.long())
        if number == self.place.number:
            self.size, values = tuple(maps.shape[1:]), maps.double().flatten(1)
            largest = values.argmax(1, keepdim=True)
            columns = (-values.gather(1, largest)).flatten(), self.which, largest.flatten()
            self.strongest += zip(*(column[nonzero > 0].tolist() for column in columns), strict=True)
            self.silent += int((nonzero == 0).sum())
            self.exact_zeros += int((values == 0).sum())
            bins = torch.bucketize(values[values != 0], self.edges[1:-1], right=True)
            self.histogram += torch.bincount(bins, minlength=BINS)

    def found(self, most: int) -> dict[str, Any]:
        exciting = [(image, -least, divmod(where, self.size[1])) for least, image, where in sorted(self.strongest)]
        before, without = (Measure(right / n, loss / n, int(n)) for right, loss, n in self.measures)
        kept = ("zeros", "totals", "size", "histogram", "edges", "exact_zeros", "silent")
        return {name: getattr(self, name) for name in kept} | {
            "exciting": tuple(exciting[:most]), "before": before, "without": without
        }  # fmt: skip


def _passed(
    place: Place, split: Split, data: Data, device: torch.device, see: Callable[[Tensor, Tensor], object]
) -> Generator[int, None, int]:
    """Pass a split's images to `see`, with their indices in the split (some files may be unreadable). Yields and
    returns the number of images so far."""
    if isinstance(split, Items):
        raise DataError("a neuron is inspected on images; data of your own have none that can be drawn")
    numbered, done = replace(split, labels=torch.arange(len(split))), 0
    layout = is_channels_last(place.graph.model)
    for x, which in Batches(numbered, data, EVALUATION_BATCH, device, channels_last=layout):
        with in_mode(place.graph.model, training=False), torch.inference_mode():
            see(x, which.cpu())
        done += len(x)
        yield done
    return done


def _maps(place: Place, split: Split, data: Data, device: torch.device, images: Sequence[int]) -> dict[int, Tensor]:
    if unknown := [i for i in images if not 0 <= i < len(split)]:
        raise SpecError(f"there is no image {unknown[0]}: the split has 0 to {len(split) - 1}")
    chosen, site = torch.tensor(list(images), dtype=torch.int64), place.graph.sites[place.number]
    found: dict[int, Tensor] = {}
    kept: list[Tensor] = []  # the maps of a batch
    network = with_probes(place.graph, lambda x, _: kept.append(place.maps(x, place.number)), after=[site.node])

    def see(x: Tensor, which: Tensor) -> None:
        network(x)
        found.update(zip(chosen[which].tolist(), kept.pop(), strict=True))

    finished(_passed(place, split.take(chosen), data, device, see))
    return {image: found[image].float().clone() for image in images if image in found}
