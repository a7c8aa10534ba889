"""The first-order Taylor criterion: how much the loss would change if a neuron's activations were zero.

Molchanov, Tyree, Karras, Aila, Kautz 2017, arXiv 1611.06440, eq. 8: the mean over examples of |sum of a * dL/da|. The
sum covers all positions of all activations of the neuron's channel group, because removing the group zeroes all of them
at once. (The paper divides by the number of positions and normalises each layer. Neither changes the ranking within a
layer.)
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from trimcore.compute import distributed
from trimcore.compute.modes import in_mode
from trimcore.compute.outputs import scores_of
from trimcore.errors import DataError, TrimError
from trimcore.graph.channel_graph import ChannelGraph, Site
from trimcore.graph.probes import with_probes


class Taylor:
    """Accumulates |dL / dgate|. Each example and channel group has a gate with the value 1 that multiplies every
    activation of the group. By the chain rule, its gradient is the sum of a * dL/da over these activations.

    A group that is held at zero where its layers give it out (see `ChannelGraph.held_behind`) has its gate there. For a
    hidden unit of a recurrent layer, that covers what other layers read, not what the layer itself reads at the next
    step.
    """

    def __init__(self, graph: ChannelGraph, device: torch.device):
        self.graph = graph
        none = torch.empty(0, dtype=torch.int64)
        self.places = [*graph.sites, *_last_exits(graph)]
        self.groups: Tensor = torch.unique(torch.cat([none, *(place.groups for place in self.places)]))
        column = torch.zeros(graph.group_count, dtype=torch.int64)
        column[self.groups] = torch.arange(len(self.groups))
        self.columns = [column[place.groups].to(device) for place in self.places]
        behind = [True] * len(graph.sites) + [False] * (len(self.places) - len(graph.sites))
        self.gated = [(graph.held_behind[place.groups] == is_site).to(device)
                      for place, is_site in zip(self.places, behind, strict=True)]  # fmt: skip
        self.sums = torch.zeros(len(self.groups), dtype=torch.float32 if device.type == "mps" else torch.float64).to(
            device
        )
        self.examples = 0
        self.gates = torch.empty(0)  # (N, groups) during a batch
        self.network = with_probes(graph, self._gate, replace=True, after=[place.node for place in self.places])

    def add_batch(self, x: Tensor, labels: Tensor) -> None:
        """Add a batch `x` (N, ...) with class indices `labels` (N,). L is the cross-entropy of each example.

        Only the gates receive a gradient; weights and their `.grad` are unchanged. Raises DataError for labels of the
        wrong shape, type or range.
        """
        with in_mode(self.graph.model, training=False), torch.inference_mode(False), torch.enable_grad():
            dtype = torch.promote_types(x.dtype, torch.float32)
            self.gates = torch.ones(len(x), len(self.groups), dtype=dtype, device=x.device, requires_grad=True)
            scores = scores_of(self.network(x))
            _check(labels, len(x), scores)
            # An example's gates affect only its own loss, so one backward pass gives the gradients of all losses.
            loss = F.cross_entropy(scores.to(dtype), labels.long(), reduction="sum")
            if loss.requires_grad:
                (gradients,) = torch.autograd.grad(loss, self.gates, allow_unused=True, materialize_grads=True)
                self.sums += gradients.abs().sum(0, dtype=self.sums.dtype)
        self.examples += len(x)
        self.gates = torch.empty(0)

    def result(self) -> Tensor:
        """The mean over examples for each channel group, 0 for groups that no layer gives out. (group_count,) float64

        Raises TrimError if a gradient is not finite.
        """
        distributed.sum_(self.sums)
        (examples,) = distributed.totals([self.examples])
        means = self.sums.cpu().double() / max(examples, 1)
        if not means.isfinite().all():
            raise TrimError("gradients for criterion 'taylor' are not finite; the network or its input is damaged")
        return torch.zeros(self.graph.group_count, dtype=torch.float64).index_copy_(0, self.groups, means)

    def _gate(self, x: Tensor, number: int) -> Tensor:
        site, gated = self.places[number], self.gated[number]
        if not gated.any():
            return x
        if len(x) != len(self.gates):
            raise TrimError(
                f"criterion 'taylor' needs the {len(self.gates)} examples along axis 0 at {site.node}, "
                f"whose length is {len(x)}; choose another criterion"
            )
        shape = [1] * x.dim()
        shape[0], shape[site.axis] = len(x), -1
        gates = self.gates[:, self.columns[number]]
        if not gated.all():
            gates = torch.where(gated, gates, 1)
        return x * gates.view(shape).to(x.dtype)


def _last_exits(graph: ChannelGraph) -> list[Site]:
    """The exits that are not followed by a norm alone: behind a norm, what comes before it no longer matters."""
    named, norms = {node.name: node for node in graph.graph.nodes}, {exit.node for exit in graph.exits if exit.norm}
    return [exit for exit in graph.exits if not named[exit.node].users or any(
        user.name not in norms for user in named[exit.node].users
    )]  # fmt: skip


def _check(labels: Tensor, examples: int, scores: Tensor) -> None:
    if scores.dim() != 2:
        raise DataError(
            f"criterion 'taylor' needs an output of class scores (N, classes), not of shape {tuple(scores.shape)}"
        )
    if labels.shape != (examples,) or labels.is_floating_point() or labels.is_complex():
        found = f"{tuple(labels.shape)} {labels.dtype}"
        raise DataError(f"labels must be one class index per example, shape ({examples},), not {found}")
    low, high = (int(bound) for bound in labels.aminmax())
    if low < 0 or high >= scores.shape[1]:
        raise DataError(f"labels range from {low} to {high}, but the network has classes 0 to {scores.shape[1] - 1}")
