"""How much a removal harms: by a neuron's rank in its layer, or by the accuracy that was measured without it."""

from collections.abc import Mapping
from itertools import accumulate, pairwise

from trimcore.errors import SpecError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.planning.ranking import Counted, Ranked, harm_per_saving
from trimcore.planning.sensitivity import Sensitivity
from trimcore.scoring.apoz import Profile

SPREAD = 0.02  # loss of a whole layer that is added, growing with the square of the removed share
Curve = list[tuple[int, float]]  # (neurons kept, loss), from the whole layer down to zero neurons


def harms_of(
    graph: ChannelGraph, profile: Profile, layers: Mapping[str, Ranked], sensitivity: Sensitivity | None,
    saved: Counted | None,
) -> dict[str, list[float]]:  # fmt: skip
    """The harm of each step, by layer, as defined in `targets.propose`. `saved` divides it by what one neuron saves.

    With a sensitivity and `saved`, the harm of a step is not the layer's loss but its growth, on the lower convex hull
    of the layer's curve. Removing the steps with the smallest growth per saving first gives the smallest sum of losses
    for what is saved (Shoham and Gersho 1988, "Efficient bit allocation for an arbitrary set of quantizers"). A small
    quadratic loss is added, because a measured curve is flat at first, and without it such a layer would lose its flat
    part in one go.
    """
    harms = {name: layer.tails for name, layer in layers.items()}
    for name, layer in layers.items():
        if sensitivity:
            width, gone = profile[name].width, [*accumulate(layer.sizes)]
            curve = curve_of(sensitivity, name, width)
            harms[name] = [at(curve, width - count) for count in gone]
            if saved:
                spread = (SPREAD * (count / width) ** 2 for count in gone)
                harms[name] = growth([0, *gone], [0.0, *map(sum, zip(harms[name], spread, strict=True))])
        if saved:
            harms[name] = harm_per_saving(graph, layer, harms[name], saved)
    return harms


def growth(x: list[int], y: list[float]) -> list[float]:
    """The slope of the lower convex hull of the points (x, y), x ascending, on the way to each point but the first.

    >>> growth([0, 1, 2, 3], [0.0, 3.0, 2.0, 6.0])
    [1.0, 1.0, 4.0]
    """
    hull: list[tuple[int, float]] = []
    for point in zip(x, y, strict=True):
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return [slope for a, b in pairwise(hull) for slope in [_slope(a, b)] * sum(a[0] < one <= b[0] for one in x)]


def _slope(a: tuple[int, float], b: tuple[int, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])


def predicted(sensitivity: Sensitivity, kept: Mapping[str, int]) -> float:
    """The predicted accuracy (or other metric) before retraining, if each layer keeps this many neurons: the base made
    worse by the loss of each layer alone.

    The losses are added, as if no two layers lost the same example, so the prediction is never above the product of the
    remaining shares. The real loss can still be larger; `masking.one_shot` measures it. Curves are linear between
    points, and from the last point down to a total loss at zero neurons: all of a share, and for other metrics the
    largest loss that was measured.
    """
    lost, metric = sum(at(curve_of(sensitivity, name), count) for name, count in kept.items()), sensitivity.metric
    value = sensitivity.base - lost if metric.higher_is_better else sensitivity.base + lost
    return max(0.0, value) if metric.percent else value


def curve_of(sensitivity: Sensitivity, name: str, width: int | None = None) -> Curve:
    """(neurons kept, loss) from the whole layer down to zero neurons, with the loss made non-decreasing."""
    kept, values = zip(*sensitivity.curve(name), strict=True)
    metric, base = sensitivity.metric, sensitivity.base
    losses = [metric.loss(base, value) for value in values]
    total = base if metric.percent and metric.higher_is_better else _largest_loss(sensitivity)
    if width not in (None, kept[0]):
        raise SpecError(f"layer {name!r} has {width} neurons, but its sensitivity was measured at {kept[0]}: rescan it")
    return [*zip(kept, accumulate(losses, max), strict=True), (0, max(total, *losses))]


def at(curve: Curve, kept: int) -> float:
    """The loss with this many neurons, linear between points."""
    (more, with_more), (less, with_less) = next((a, b) for a, b in pairwise(curve) if b[0] <= kept)
    return with_less + (with_more - with_less) * (kept - less) / (more - less)


def _largest_loss(sensitivity: Sensitivity) -> float:
    return max(sensitivity.metric.loss(sensitivity.base, point.accuracy) for point in sensitivity.points)
