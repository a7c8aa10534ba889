"""The first-order Taylor criterion: by how much would the loss change, were a neuron's activations zero?

Molchanov, Tyree, Karras, Aila, Kautz 2017, arXiv 1611.06440, eq. 8: the mean over examples of |sum of a * dL/da|. The
sum goes over everything that goes with the neuron's channel group, at all positions of all activations that it passes,
as a removal zeroes all of it at once. (The paper divides by the number of positions, and normalises each layer; within
a layer neither changes the ranking.)
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from trimcore.compute import distributed
from trimcore.compute.modes import in_mode
from trimcore.errors import DataError, TrimError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.probes import watched


class Taylor:
    """Sums of |dL / dgate| while batches pass. One gate, always 1, for each example and channel group is multiplied
    behind every activation of the group: by the chain rule its gradient is the sum of a * dL/da over all of them."""

    def __init__(self, graph: ChannelGraph, device: torch.device):
        self.graph = graph
        none = torch.empty(0, dtype=torch.int64)
        self.groups: Tensor = torch.unique(torch.cat([none, *(site.groups for site in graph.sites)]))
        column = torch.zeros(graph.group_count, dtype=torch.int64)
        column[self.groups] = torch.arange(len(self.groups))
        self.columns = [column[site.groups].to(device) for site in graph.sites]
        self.sums = torch.zeros(len(self.groups), dtype=torch.float32 if device.type == "mps" else torch.float64).to(
            device
        )
        self.examples = 0
        self.gates = torch.empty(0)  # (N, groups) while a batch passes
        self.network = watched(graph, self._gate, instead=True)

    def see(self, x: Tensor, labels: Tensor) -> None:
        """Add a batch: `x` (N, ...), `labels` (N,) class numbers, L being the cross-entropy of each example.

        Only the gates get a gradient: weights and their `.grad` stay as they are. Raises DataError for labels that do
        not fit.
        """
        with in_mode(self.graph.model, training=False), torch.inference_mode(False), torch.enable_grad():
            dtype = torch.promote_types(x.dtype, torch.float32)
            self.gates = torch.ones(len(x), len(self.groups), dtype=dtype, device=x.device, requires_grad=True)
            scores = self.network(x)
            scores = scores[0] if isinstance(scores, tuple | list) else scores
            _check(labels, len(x), scores)
            # An example's gates reach its own loss only, so one backward pass gives the gradients of all losses.
            loss = F.cross_entropy(scores.to(dtype), labels.long(), reduction="sum")
            if loss.requires_grad:
                (slopes,) = torch.autograd.grad(loss, self.gates, allow_unused=True, materialize_grads=True)
                self.sums += slopes.abs().sum(0, dtype=self.sums.dtype)
        self.examples += len(x)
        self.gates = torch.empty(0)

    def result(self) -> Tensor:
        """The mean over examples for each channel group, 0 for those that pass no activation. (group_count,) float64

        Raises TrimError when a gradient is not finite.
        """
        distributed.sum_(self.sums)
        (examples,) = distributed.totals([self.examples])
        means = self.sums.cpu().double() / max(examples, 1)
        if not means.isfinite().all():
            raise TrimError(
                "gradients for the criterion taylor are not finite numbers; the network or its input is damaged"
            )
        return torch.zeros(self.graph.group_count, dtype=torch.float64).index_copy_(0, self.groups, means)

    def _gate(self, x: Tensor, number: int) -> Tensor:
        site = self.graph.sites[number]
        if len(x) != len(self.gates):
            raise TrimError(
                f"the criterion taylor needs the examples along axis 0 at {site.node}; choose another criterion"
            )
        shape = [1] * x.dim()
        shape[0], shape[site.axis] = len(x), -1
        return x * self.gates[:, self.columns[number]].view(shape).to(x.dtype)


def _check(labels: Tensor, examples: int, scores: Tensor) -> None:
    if scores.dim() != 2:
        raise DataError(
            f"the criterion taylor needs class scores (N, classes) as output, not shape {tuple(scores.shape)}"
        )
    if labels.shape != (examples,) or labels.is_floating_point() or labels.is_complex():
        has = f"{tuple(labels.shape)} {labels.dtype}"
        raise DataError(f"the criterion taylor needs one class number for each of {examples} examples, not {has}")
    low, high = (int(bound) for bound in labels.aminmax())
    if low < 0 or high >= scores.shape[1]:
        raise DataError(f"labels reach from {low} to {high}, but the network has classes 0 to {scores.shape[1] - 1}")
