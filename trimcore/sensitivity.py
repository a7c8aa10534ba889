"""How much each layer can lose: accuracy with neurons held at zero, before anything is cut or retrained.

Layers are looked at one by one, as Li et al. 2017 (arXiv 1608.08710, section 3.2) do for the layers of VGG-16: a layer
whose curve stays flat can give much, one whose curve falls early should be left alone.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from trimcore import planning
from trimcore.apoz import Profile
from trimcore.errors import DataError, SpecError
from trimcore.graph import ChannelGraph
from trimcore.modes import in_mode
from trimcore.planning import Fraction
from trimcore.runs import read_json, write_atomic
from trimcore.sparing import sparing_the_last
from trimcore.surgery import Cut, prune, removed_groups
from trimcore.train import Measure
from trimcore.watching import watched

if TYPE_CHECKING:
    import pandas

FRACTIONS = (1.0, 0.9, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05)
VERSION = 1  # of what is measured: another number makes old cache files unknown
Batches = Iterable[tuple[Tensor, Tensor]]  # images (N, ...) and class numbers (N,)
Going = tuple[int, ...]  # neurons of one layer


class Held:
    """A network with a gate behind every activation, so that neurons can be held at zero without surgery.

    Modules are shared with the original. Gates without a neuron to hold pass on the very tensor that they get. In front
    of a maximum a neuron that leaves its unit is held at minus infinity: it then never is the maximum.
    """

    def __init__(self, graph: ChannelGraph):
        fine = graph.fine
        self.graph, self._units = graph, [fine.parts[units.maxout] for units in graph.units.values()]
        units = zip(graph.units.values(), self._units, strict=True)
        sources = [(unit.source, unit.dim, part.inputs) for unit, part in units]
        sites = [(site.node, site.axis, site.groups) for site in fine.sites]
        # A place can be both. What is inserted last comes first: the unit then sees what its own gate gives.
        self._places = sources + sites
        self._gates: list[tuple[Tensor, Tensor] | None] = [None] * len(self._places)
        self.network = watched(fine, self._gate, instead=True, places=[node for node, *_ in self._places])

    def without(self, plan: Cut, within: Iterable[str] = ()) -> None:
        """Hold these neurons from now on, and no others; `within`, and what is raised, as in `surgery.prune`."""
        gone = removed_groups(self.graph, plan, within)
        leaves = torch.zeros_like(gone)  # its unit, which stays
        for part in self._units:
            stays = ~gone[part.outputs].repeat_interleave(len(part.inputs) // len(part.outputs))
            leaves[part.inputs] = gone[part.inputs] & stays
        value = torch.zeros(len(gone)).masked_fill(leaves, -torch.inf)
        for number, (_, _, groups) in enumerate(self._places):
            fill = value[groups] if number < len(self._units) else torch.zeros(len(groups))
            self._gates[number] = (gone[groups], fill) if gone[groups].any() else None

    def holds_at(self, node: fx.Node) -> bool:
        """Whether an operation of `network` is a gate that holds something."""
        return node.target == self._gate and self._gates[cast(int, node.args[1])] is not None

    def _gate(self, x: Tensor, number: int) -> Tensor:
        if (gate := self._gates[number]) is None:
            return x
        (gone, fill), shape = gate, [1] * x.dim()
        shape[self._places[number][1]] = -1
        return torch.where(gone.to(x.device).view(shape), fill.to(x).view(shape), x)


def held(graph: ChannelGraph) -> Held:
    """The traced network with a gate behind every activation; nothing is held yet."""
    return Held(graph)


def accuracy_held(held: Held, batches: Batches) -> Measure:
    """Accuracy and loss with the neurons held that `held.without` named last."""
    return _measured(held.graph.model, held.network, batches)


def one_shot(graph: ChannelGraph, plan: Cut, batches: Batches, within: Iterable[str] = ()) -> Measure:
    """Accuracy and loss of a plan before retraining, from real surgery: the smaller network is the faster one. Raises
    NotTrimmable as `surgery.prune` does, and DataError for a loader that is empty or lacks labels."""
    small = prune(graph.model, plan, graph=graph, within=within)
    return _measured(small, small, batches)


def _measured(model: nn.Module, network: nn.Module, batches: Batches) -> Measure:
    loss, correct, seen = 0.0, 0, 0
    with in_mode(model, training=False), torch.inference_mode():
        for x, y in _placed(model, batches):
            scores = _scores(network(x))
            loss += float(F.cross_entropy(scores, y, reduction="sum"))
            correct += int((scores.argmax(1) == y).sum())
            seen += len(y)
    if not seen:
        raise DataError("no examples to measure accuracy on: the loader is empty")
    return Measure(correct / seen, loss / seen, seen)


def _placed(model: nn.Module, batches: Batches) -> Generator[tuple[Tensor, Tensor], None, None]:
    """The batches on the model's device. Raises DataError for one without class numbers."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) < 2 or not isinstance(batch[1], Tensor):
            raise DataError("accuracy needs labels: the loader must yield (examples, class numbers)")
        yield batch[0].to(device), batch[1].to(device)


def _scores(outputs: Any) -> Tensor:
    """Class scores (N, classes); of several outputs the first. Raises DataError for another shape."""
    scores: Tensor = outputs[0] if isinstance(outputs, tuple | list) else outputs
    if scores.dim() != 2:
        raise DataError(f"accuracy needs class scores (N, classes) as output, not shape {tuple(scores.shape)}")
    return scores


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

    def table(self) -> "pandas.DataFrame":
        """A DataFrame with a row for each point, and the accuracy lost against the whole network in `drop`."""
        import pandas

        frame = pandas.DataFrame(self.points, columns=Point._fields)
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
    plans = [planning.plan(profile, Fraction(1 - share), names, scores) for share in shares]
    ranking = {name: profile[name].apoz if scores is None else scores[name] for name in names}
    going = {name: [_sparing(graph, name, plan[name], ranking[name]) for plan in plans] for name in names}
    cuts = {name: sorted({*going[name]} - {()}, key=len) for name in names}
    batches, network = list(_placed(graph.model, batches)), held(graph)
    whole, done, points = accuracy_held(network, batches), len(batches), []
    total = done * (1 + sum(map(len, cuts.values())))
    yield done, total
    for name in names:
        correct: Counter[Going] = Counter({(): round(whole.accuracy * whole.examples)})
        for x, y in batches if cuts[name] else ():
            with in_mode(graph.model, training=False), torch.inference_mode():
                for cut, outputs in _from_the_layer_on(network, x, name, cuts[name]):
                    correct[cut] += int((_scores(outputs).argmax(1) == y).sum())
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


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, by which a checkpoint is known."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_key(
    weights: str, data: str, image_size: int, examples: int, criterion: str,
    fractions: Sequence[float] = FRACTIONS, **more: object,
) -> str:  # fmt: skip
    """A name for the sensitivity of a network (`weights`: its digest) on some data, the same on every machine. `more`
    are further plain values on which the scores depend, such as tolerance, seed and layers."""
    what = [VERSION, weights, data, image_size, examples, criterion, [float(share) for share in fractions], more]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def save(folder: Path, key: str, sensitivity: Sensitivity) -> None:
    """Keep a sensitivity under its key; readers see the whole file or none."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"sensitivity-{key}.json", json.dumps(asdict(sensitivity)))


def load(folder: Path, key: str) -> Sensitivity | None:
    """The sensitivity kept under that key; None where there is none, or a damaged file."""
    found = read_json(folder / f"sensitivity-{key}.json")
    try:
        points = [Point(str(layer), float(share), int(kept), float(at)) for layer, share, kept, at in found["points"]]
        return Sensitivity(int(found["examples"]), float(found["base"]), points)
    except (KeyError, TypeError, ValueError):
        return None
