"""A network with neurons held at zero, without surgery; and what it, or the smaller network, still recognises."""

from collections.abc import Generator, Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from trimcore.compute.modes import in_mode
from trimcore.errors import DataError
from trimcore.evaluation.accuracy import Measure
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.probes import watched
from trimcore.graph.removal import Cut, removed_groups
from trimcore.surgery.cut import prune

Batches = Iterable[tuple[Tensor, Tensor]]  # images (N, ...) and class numbers (N,)


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
        for x, y in placed(model, batches):
            scores = class_scores(network(x))
            loss += float(F.cross_entropy(scores, y, reduction="sum"))
            correct += int((scores.argmax(1) == y).sum())
            seen += len(y)
    if not seen:
        raise DataError("no examples to measure accuracy on: the loader is empty")
    return Measure(correct / seen, loss / seen, seen)


def placed(model: nn.Module, batches: Batches) -> Generator[tuple[Tensor, Tensor], None, None]:
    """The batches on the model's device. Raises DataError for one without class numbers."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) < 2 or not isinstance(batch[1], Tensor):
            raise DataError("accuracy needs labels: the loader must yield (examples, class numbers)")
        yield batch[0].to(device), batch[1].to(device)


def class_scores(outputs: Any) -> Tensor:
    """Class scores (N, classes); of several outputs the first. Raises DataError for another shape."""
    scores: Tensor = outputs[0] if isinstance(outputs, tuple | list) else outputs
    if scores.dim() != 2:
        raise DataError(f"accuracy needs class scores (N, classes) as output, not shape {tuple(scores.shape)}")
    return scores
