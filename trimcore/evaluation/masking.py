"""Evaluate a plan, either by masking neurons without surgery or on the smaller network after real surgery."""

from collections.abc import Callable, Generator, Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from trimcore.compute.inputs import moved
from trimcore.compute.modes import in_mode
from trimcore.compute.outputs import scores_of
from trimcore.errors import DataError
from trimcore.evaluation.accuracy import Measure, measured
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.nodes import function, part_name, target
from trimcore.graph.probes import with_probes
from trimcore.graph.removal import Cut, removed_groups
from trimcore.layers.norms import without_channels
from trimcore.layers.recurrent import with_units_unread
from trimcore.surgery.cut import prune
from trimcore.tasks.classification import Classification
from trimcore.tasks.task import Task

Batches = Iterable[tuple[Tensor, Tensor]]  # images (N, ...) and class numbers (N,)


class MaskedNetwork:
    """The traced network with gates, so that neurons can be held at zero without surgery: behind every activation, and
    where layers and the norms after them give out their channels (see `ChannelGraph.held_behind`).

    Nothing is masked at first. Modules are shared with the original. A gate with nothing to mask returns its input
    tensor itself. In front of a maximum, a neuron that leaves its unit is held at minus infinity, so that it is never
    the maximum.
    """

    def __init__(self, graph: ChannelGraph):
        fine = graph.fine
        self.graph, self._units = graph, [fine.parts[units.maxout] for units in graph.units.values()]
        units = zip(graph.units.values(), self._units, strict=True)
        sources = [(unit.source, unit.dim, part.inputs) for unit, part in units]
        sites = [(site.node, site.axis, site.groups) for site in fine.sites]
        # A node can be both. The gate that is inserted last runs first, so the unit sees the output of its own gate.
        exits = [(site.node, site.axis, site.groups) for site in fine.exits]
        self._places = sources + sites + exits
        self._behind = [True] * len(sources + sites) + [False] * len(exits)
        self._gates: list[tuple[Tensor, Tensor] | None] = [None] * len(self._places)
        self.network = with_probes(fine, self._gate, replace=True, after=[node for node, *_ in self._places])
        self._recurrent: dict[str, Tensor] = {}  # recurrent layer -> mask of its hidden units
        self._joint = {site.node: site for site in fine.joint_norms}
        self._norms = {node.name: fine.parts[part_name(node)].module for node in fine.graph.nodes
                       if node.name in self._joint}  # fmt: skip
        self._called: dict[str, Callable[..., Tensor]] = {}  # node of a joint norm -> what it calls
        self._left_out: dict[str, Tensor] = {}  # node of a joint norm -> mask of its channels
        for node in self.network.graph.nodes:
            if node.op == "call_module" and isinstance(fine.held[target(node)], nn.RNNBase):
                node.op, node.target, node.args = "call_function", self._step, (target(node), *node.args)
            elif node.name in self._joint:
                self._called[node.name] = fine.held[target(node)] if node.op == "call_module" else function(node)
                node.op, node.target, node.args = "call_function", self._normalise, (node.name, *node.args)
        self.network.recompile()

    def mask(self, plan: Cut, within: Iterable[str] = ()) -> None:
        """Mask exactly these neurons from now on. `within` and errors as in `surgery.prune`."""
        gone = removed_groups(self.graph, plan, within)
        leaves = torch.zeros_like(gone)  # neurons that leave a unit that stays
        for part in self._units:
            stays = ~gone[part.outputs].repeat_interleave(len(part.inputs) // len(part.outputs))
            leaves[part.inputs] = gone[part.inputs] & stays
        value = torch.zeros(len(gone)).masked_fill(leaves, -torch.inf)
        behind = gone & self.graph.fine.held_behind
        for number, (_, _, groups) in enumerate(self._places):
            fill = value[groups] if number < len(self._units) else torch.zeros(len(groups))
            held = behind[groups] if self._behind[number] else (gone & ~behind)[groups]
            self._gates[number] = (held, fill) if held.any() else None
        parts = self.graph.fine.parts.values()
        self._recurrent = {part.name: gone[part.outputs] for part in parts if part.kind == "recurrent"}
        self._left_out = {name: gone[site.groups] for name, site in self._joint.items()}

    def masks_at(self, node: fx.Node) -> bool:
        """Whether a node of `network` currently computes something else because neurons are masked."""
        if node.target == self._gate:
            return self._gates[cast(int, node.args[1])] is not None
        if node.target not in (self._step, self._normalise):
            return False
        own = (self._recurrent | self._left_out).get(cast(str, node.args[0]))
        return own is not None and bool(own.any())

    def _step(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a recurrent layer so that no step reads its masked units. The gates after it mask its results."""
        layer, units = self.graph.fine.held[name], self._recurrent.get(name)
        return (layer if units is None or not units.any() else with_units_unread(layer, units))(*args, **kwargs)

    def _normalise(self, name: str, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Call a norm, by the name of its node, that leaves masked channels out of its statistics."""
        gone = self._left_out.get(name)
        if gone is not None and gone.any():
            return without_channels(self._norms[name], x, gone, self._joint[name].axis)
        result: Tensor = self._called[name](x, *args, **kwargs)
        return result

    def _gate(self, x: Tensor, number: int) -> Tensor:
        if (gate := self._gates[number]) is None:
            return x
        (gone, fill), shape = gate, [1] * x.dim()
        shape[self._places[number][1]] = -1
        return torch.where(gone.to(x.device).view(shape), fill.to(x).view(shape), x)


def masked_accuracy(masked: MaskedNetwork, batches: Batches) -> Measure:
    """Accuracy and loss with the currently masked neurons."""
    return _measured(masked.graph.model, masked.network, batches)


def one_shot(
    graph: ChannelGraph, plan: Cut, batches: Batches, within: Iterable[str] = (), task: Task | None = None
) -> Measure:
    """The metrics of a plan before retraining, measured after real surgery, since the smaller network is faster. `task`
    defaults to classification. Raises NotTrimmable as `surgery.prune` does, and DataError for a loader that is empty or
    lacks labels."""
    small = prune(graph.model, plan, graph=graph, within=within)
    return _measured(small, small, batches, task)


def _measured(model: nn.Module, network: nn.Module, batches: Batches, task: Task | None = None) -> Measure:
    if task is not None and not isinstance(task, Classification):
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        with in_mode(model, training=False):
            return measured(network, (moved(batch, device) for batch in batches), task, device)
    loss, correct, seen = 0.0, 0, 0
    with in_mode(model, training=False), torch.inference_mode():
        for x, y in on_device(model, batches):
            scores = class_scores(network(x))
            loss += float(F.cross_entropy(scores, y, reduction="sum"))
            correct += int((scores.argmax(1) == y).sum())
            seen += len(y)
    if not seen:
        raise DataError("cannot measure accuracy: the loader is empty")
    return Measure(correct / seen, loss / seen, seen)


def on_device(model: nn.Module, batches: Batches) -> Generator[tuple[Tensor, Tensor], None, None]:
    """The batches on the model's device. Raises DataError for a batch without class numbers."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) < 2 or not isinstance(batch[1], Tensor):
            raise DataError("accuracy needs labels: the loader must yield (examples, class numbers)")
        yield batch[0].to(device), batch[1].to(device).long()


def class_scores(outputs: Any) -> Tensor:
    """Class scores (N, classes), from the first output if there are several. Raises DataError for another shape."""
    scores: Tensor = scores_of(outputs)
    if scores.dim() != 2:
        raise DataError(f"accuracy needs class scores (N, classes), not an output of shape {tuple(scores.shape)}")
    return scores
