"""How much each layer can lose: accuracy with neurons held at zero, before anything is cut or retrained.

Layers are looked at one by one, as Li et al. 2017 (arXiv 1608.08710, section 3.2) do for the layers of VGG-16: a layer
whose curve stays flat can give much, one whose curve falls early should be left alone.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, fx

from trimcore.compute.modes import in_mode
from trimcore.errors import SpecError
from trimcore.evaluation.masking import Batches, Held, accuracy_held, class_scores, held, placed
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.planning.minimum import sparing_the_last
from trimcore.planning.plan import plan as make_plan
from trimcore.scoring.apoz import Profile
from trimcore.spec.rules import Fraction

FRACTIONS = (1.0, 0.9, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05)
Going = tuple[int, ...]  # neurons of one layer


class Point(NamedTuple):
    """Of a layer: the share that was asked to stay, how many neurons stayed, and the accuracy."""

    layer: str
    kept_fraction: float
    kept: int
    accuracy: float


@dataclass(frozen=True)
class Sensitivity:
    """Accuracies (0..1): `base` of the whole network, `points` with one layer cut, layer by layer and downwards."""

    examples: int
    base: float
    points: list[Point]

    def curve(self, layer: str) -> list[tuple[int, float]]:
        """(neurons kept, accuracy) from the whole layer downwards. Raises SpecError for a layer not measured."""
        found = {point.kept: point.accuracy for point in self.points if point.layer == layer}
        if not found:
            names = ", ".join(dict.fromkeys(point.layer for point in self.points))
            raise SpecError(f"the sensitivity of layer {layer!r} was not measured; there are {names or 'none'}")
        return sorted(found.items(), reverse=True)

    def table(self) -> pd.DataFrame:
        """A DataFrame with a row for each point, and the accuracy lost against the whole network in `drop`."""
        frame = pd.DataFrame(self.points, columns=Point._fields)
        return frame.assign(drop=self.base - frame["accuracy"])


def scanning(
    graph: ChannelGraph, profile: Profile, batches: Batches, layers: Iterable[str] | None = None,
    fractions: Sequence[float] = FRACTIONS, scores: Mapping[str, Tensor] | None = None,
) -> Generator[tuple[int, int], None, Sensitivity]:  # fmt: skip
    """Accuracy with only a share of one layer's neurons, all other layers whole: yields (evaluations done, in all).

    The neurons with the highest scores are held at zero (`scores` as in `planning.plan`; None: APoZ), as the rule
    `fraction` chooses them: at least the share stays, and one neuron. Points for the whole layer are there even if 1 is
    not among the `fractions`. The batches are kept in memory. For each of them and each layer the network is run once
    up to the layer's first activation, and from there for each share.

    Raises SpecError for an unknown layer and for a share outside 0..1, DataError as `one_shot` does.
    """
    names = list(profile.layers) if layers is None else list(layers)
    if wrong := [share for share in fractions if not 0 <= share <= 1]:
        raise SpecError(f"fraction = {wrong[0]}: it is the share of a layer that stays, from 0 to 1")
    shares = sorted({1.0, *map(float, fractions)}, reverse=True)
    plans = [make_plan(profile, Fraction(1 - share), names, scores) for share in shares]
    ranking = {name: profile[name].apoz if scores is None else scores[name] for name in names}
    going = {name: [_sparing(graph, name, plan[name], ranking[name]) for plan in plans] for name in names}
    cuts = {name: sorted({*going[name]} - {()}, key=len) for name in names}
    batches, network = list(placed(graph.model, batches)), held(graph)
    whole, done, points = accuracy_held(network, batches), len(batches), []
    total = done * (1 + sum(map(len, cuts.values())))
    yield done, total
    for name in names:
        correct: Counter[Going] = Counter({(): round(whole.accuracy * whole.examples)})
        for x, y in batches if cuts[name] else ():
            with in_mode(graph.model, training=False), torch.inference_mode():
                for cut, outputs in _from_the_layer_on(network, x, name, cuts[name]):
                    correct[cut] += int((class_scores(outputs).argmax(1) == y).sum())
            done += len(cuts[name])
            yield done, total
        for share, cut in zip(shares, going[name], strict=True):
            points.append(Point(name, share, profile[name].width - len(cut), correct[cut] / whole.examples))
    return Sensitivity(whole.examples, whole.accuracy, points)


def _sparing(graph: ChannelGraph, name: str, neurons: Iterable[int], ranking: Tensor) -> Going:
    """The neurons of one layer that can go without leaving any layer empty."""
    return tuple(sparing_the_last(graph, {name: neurons}, lambda _, i: float(ranking[i]))[name])


def _from_the_layer_on(network: Held, x: Tensor, name: str, cuts: list[Going]) -> Iterator[tuple[Going, object]]:
    """Each cut of a layer with what the network gives for `x`. The last cut must contain all others: it has the first
    gate of all of them, and what comes before is run once."""
    network.without({name: cuts[-1]})
    runner = fx.Interpreter(network.network)
    runner.env, runner.args_iter = {}, iter([x])
    before: dict[fx.Node, object] = {}
    for node in network.network.graph.nodes:
        if network.holds_at(node):
            break
        runner.env[node], before[node] = runner.run_node(node), None
        for dead in runner.user_to_last_uses.get(node, ()):
            del runner.env[dead]
    needed = runner.env
    for cut in cuts:
        network.without({name: cut})
        # Copies: operations further on may change in place what they are given.
        copies = {node: value.clone() if isinstance(value, Tensor) else value for node, value in needed.items()}
        yield cut, runner.run(initial_env=before | copies)
