"""The sensitivity of each layer: accuracy with some of its neurons held at zero, without cutting or retraining.

Layers are measured one by one, as Li et al. 2017 (arXiv 1608.08710, section 3.2) do for VGG-16. A layer whose curve
stays flat can lose many neurons; a layer whose curve falls early should be left alone.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, fx

from trimcore.compute.modes import in_mode
from trimcore.errors import SpecError
from trimcore.evaluation.masking import Batches, MaskedNetwork, class_scores, masked_accuracy, on_device, one_shot
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.planning.minimum import keep_one_per_layer
from trimcore.planning.plan import plan as make_plan
from trimcore.scoring.apoz import Profile
from trimcore.spec.rules import Fraction
from trimcore.tables.metric import ACCURACY, Metric
from trimcore.tasks.classification import Classification
from trimcore.tasks.task import Task

FRACTIONS = (1.0, 0.9, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05)
Neurons = tuple[int, ...]  # of one layer


class Point(NamedTuple):
    """One measurement: the layer, the requested share of its neurons, the number that stayed, and the accuracy (of
    other tasks, their headline metric)."""

    layer: str
    kept_fraction: float
    kept: int
    accuracy: float


@dataclass(frozen=True)
class Sensitivity:
    """Values of the headline `metric`: `base` for the whole network, `points` with one layer reduced, by layer,
    descending shares."""

    examples: int
    base: float
    points: list[Point]
    metric: Metric = ACCURACY

    def curve(self, layer: str) -> list[tuple[int, float]]:
        """(neurons kept, value), from the whole layer downwards. Raises SpecError if the layer was not measured."""
        found = {point.kept: point.accuracy for point in self.points if point.layer == layer}
        if not found:
            names = ", ".join(dict.fromkeys(point.layer for point in self.points))
            raise SpecError(f"the sensitivity of layer {layer!r} was not measured; measured are {names or 'none'}")
        return sorted(found.items(), reverse=True)

    def table(self) -> pd.DataFrame:
        """A DataFrame with one row per point, its value in a column named accuracy, or else metric. The column `drop`
        is what is lost relative to the whole network."""
        frame = pd.DataFrame(self.points, columns=Point._fields)
        frame = frame.assign(drop=[self.metric.loss(self.base, value) for value in frame["accuracy"]])
        return frame if self.metric.is_accuracy else frame.rename(columns={"accuracy": "metric"})


def scanning(
    graph: ChannelGraph, profile: Profile, batches: Batches, layers: Iterable[str] | None = None,
    fractions: Sequence[float] = FRACTIONS, scores: Mapping[str, Tensor] | None = None, task: Task | None = None,
) -> Generator[tuple[int, int], None, Sensitivity]:  # fmt: skip
    """Measure the metric of `task` with only a share of one layer's neurons, all other layers being whole. Yields
    (evaluations done, evaluations in total). `task` defaults to classification.

    The neurons with the highest scores are held at zero (`scores` as in `planning.plan`; None: APoZ), chosen as by the
    rule `fraction`: at least the share stays, and at least one neuron. The whole layer is always a point, even if 1 is
    not in `fractions`. The batches are kept in memory. For each batch and layer, the network runs once up to the
    layer's first activation, and from there once per share.

    Raises SpecError for an unknown layer and for a share outside 0..1, and DataError as `one_shot` does.
    """
    names = list(profile.layers) if layers is None else list(layers)
    if wrong := [share for share in fractions if not 0 <= share <= 1]:
        raise SpecError(f"fraction = {wrong[0]}: it must be the share of a layer that stays, from 0 to 1")
    shares = sorted({1.0, *map(float, fractions)}, reverse=True)
    plans = [make_plan(profile, Fraction(1 - share), names, scores) for share in shares]
    ranking = {name: profile[name].apoz if scores is None else scores[name] for name in names}
    removed = {name: [_keeping_one(graph, name, plan[name], ranking[name]) for plan in plans] for name in names}
    cuts = {name: sorted({*removed[name]} - {()}, key=len) for name in names}
    if task is not None and not isinstance(task, Classification):
        return (yield from _scanning(graph, list(batches), removed, shares, task))
    batches, network = list(on_device(graph.model, batches)), MaskedNetwork(graph)
    whole, done, points = masked_accuracy(network, batches), len(batches), []
    total = done * (1 + sum(map(len, cuts.values())))
    yield done, total
    for name in names:
        correct: Counter[Neurons] = Counter({(): round(whole.accuracy * whole.examples)})
        for x, y in batches if cuts[name] else ():
            with in_mode(graph.model, training=False), torch.inference_mode():
                for cut, outputs in _run_cuts(network, x, name, cuts[name]):
                    correct[cut] += int((class_scores(outputs).argmax(1) == y).sum())
            done += len(cuts[name])
            yield done, total
        for share, cut in zip(shares, removed[name], strict=True):
            points.append(Point(name, share, profile[name].width - len(cut), correct[cut] / whole.examples))
    return Sensitivity(whole.examples, whole.accuracy, points)


def _scanning(
    graph: ChannelGraph, batches: list[Any], removed: dict[str, list[Neurons]], shares: list[float], task: Task
) -> Generator[tuple[int, int], None, Sensitivity]:
    """`scanning` of a task whose metric only sees whole splits: each cut is made in a copy of the network. `removed`
    are the neurons of each layer by share."""
    total, done, points = 1 + sum(len({*cuts} - {()}) for cuts in removed.values()), 1, []
    whole = one_shot(graph, {}, batches, task=task)
    yield done, total
    for name, cuts in removed.items():
        values: dict[Neurons, float] = {(): whole.value}
        for cut in {*cuts} - {()}:
            values[cut] = one_shot(graph, {name: cut}, batches, task=task).value
            done += 1
            yield done, total
        width = graph.layers[name].width
        points += [Point(name, share, width - len(cut), values[cut]) for share, cut in zip(shares, cuts, strict=True)]
    return Sensitivity(whole.examples, whole.value, points, task.metric)


def _keeping_one(graph: ChannelGraph, name: str, neurons: Iterable[int], ranking: Tensor) -> Neurons:
    """The neurons of one layer that can be removed without leaving any layer empty."""
    return tuple(keep_one_per_layer(graph, {name: neurons}, lambda _, i: float(ranking[i]))[name])


def _run_cuts(network: MaskedNetwork, x: Tensor, name: str, cuts: list[Neurons]) -> Iterator[tuple[Neurons, object]]:
    """Yield each cut of a layer with the network's output for `x`. The last cut must contain all others, so that its
    first gate comes before theirs: everything up to that gate runs only once."""
    network.mask({name: cuts[-1]})
    runner = fx.Interpreter(network.network)
    runner.env, runner.args_iter = {}, iter([x])
    before: dict[fx.Node, object] = {}
    for node in network.network.graph.nodes:
        if network.masks_at(node):
            break
        runner.env[node], before[node] = runner.run_node(node), None
        for dead in runner.user_to_last_uses.get(node, ()):
            del runner.env[dead]
    needed = runner.env
    for cut in cuts:
        network.mask({name: cut})
        # Copies, because later operations may change their inputs in place.
        copies = {node: value.clone() if isinstance(value, Tensor) else value for node, value in needed.items()}
        yield cut, runner.run(initial_env=before | copies)
