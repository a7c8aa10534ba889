"""Cutting neurons out of a network, so that what is left is physically smaller.

The guarantee: the result computes what the original computes with the activations of the removed neurons held at zero.
"""

import copy
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.errors import NotTrimmable
from trimcore.graph.channel_graph import ChannelGraph, Kept
from trimcore.graph.comparison import verified
from trimcore.graph.removal import Cut, removed_groups, units_left
from trimcore.graph.tracing import trace
from trimcore.layers.maxout import set_units
from trimcore.surgery.fold import shift_of, take_up
from trimcore.surgery.widths import set_widths

BLOCK = 1 << 18  # elements: a megabyte of float32


def prune(
    model: nn.Module, plan: Cut, example_input: Tensor | tuple[Any, ...] | None = None, *,
    graph: ChannelGraph | None = None, within: Iterable[str] = (),
) -> nn.Module:  # fmt: skip
    """A smaller copy of `model` without the planned neurons; `model` itself is left as it was.

    `plan` is a `Plan` or a mapping layer -> neurons that go. A neuron of a maxout unit takes its whole unit with it,
    but not in the layers `within` (those of a `Plan` with the rule `maxout`): there it is taken out of its unit, which
    from then on has its maximum among the others. All units of a layer must lose as many; with one neuron left in each
    the maximum disappears. Give `example_input` (a batch, for its shape) or the
    `graph` that `trace` made of this very model. Weights, buffers, modes, `requires_grad`, dtype, device and memory
    format are kept, and hooks, of which nobody knows what they do: one that changes what a layer gives is not seen.
    Gradients are not kept. Raises NotTrimmable for a layer that cannot be cut, an index out of range, or a
    plan that would leave a layer empty.

    >>> from trimcore import build
    >>> small = prune(build("lenet5"), {"conv2": [3, 17]}, torch.zeros(1, 1, 28, 28))
    >>> small.conv2.out_channels, small.fc1.in_features
    (48, 768)
    """
    if graph is None:
        if example_input is None:
            raise NotTrimmable("prune needs an example_input: a batch of the shape that the network takes")
        graph = trace(model, example_input)
    elif graph.model is not model:
        raise NotTrimmable("the graph was traced from another network than the one to prune")
    return cut(graph, plan, within).model


def cut(graph: ChannelGraph, plan: Cut, within: Iterable[str] = ()) -> ChannelGraph:
    """As `prune`, from a traced network to the graph of the smaller one.

    The smaller network is traced and compared with the whole one before it is given out (see `retraced`), so that a
    forward function that looks at widths is refused with NotTrimmable.
    """
    gone = removed_groups(graph, plan, within)
    kept = graph.fine.kept(gone)
    return verified(graph, kept, _smaller(graph, gone, kept))


def _smaller(graph: ChannelGraph, gone: Tensor, kept: Kept) -> nn.Module:
    memo: dict[int, object] = {}  # what `deepcopy` puts in place of a tensor: no weight that goes is ever copied
    keep_alive = []
    for tensor, positions in cut_tensors(graph, kept):
        data = sliced(tensor.detach(), positions)
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(data, requires_grad=tensor.requires_grad) if is_parameter else data
        keep_alive.append(tensor)
    for module in graph.model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:  # a result that it keeps, a loss say, has a history
                memo[id(value)] = value.detach().clone()
            elif type(value) in (OrderedDict, set) and not value:  # a dozen of hooks that nobody set, slow to copy
                memo[id(value)] = type(value)()
    small = copy.deepcopy(graph.model, memo)
    modules, parts = dict(small.named_modules()), graph.fine.parts
    for part in parts.values():
        own = kept[part.name]
        shorter = any(len(own[role]) < len(groups) for role, groups in part.groups.items())
        if shorter and part.name in modules:  # a stored tensor has no numbers beside it
            set_widths(modules[part.name], {role: len(positions) for role, positions in own.items()})
    for fold in graph.folds:
        shift = shift_of(fold, parts, gone)
        if shift is not None:
            take_up(modules[fold.into], kept[fold.consumer]["out"], shift)
    return set_units(small, {graph.units[layer].maxout: k for layer, k in units_left(graph, gone).items()})


def cut_tensors(graph: ChannelGraph, kept: Kept) -> Iterable[tuple[Tensor, tuple[Tensor | None, ...]]]:
    """Every tensor that becomes smaller when only the positions `kept` (see `ChannelGraph.kept`) stay, with those that
    stay along its first axes (None: all of them)."""
    for part in graph.fine.parts.values():
        own = kept[part.name]
        shorter: dict[str | None, Tensor] = {
            role: own[role] for role, groups in part.groups.items() if len(own[role]) < len(groups)
        }
        for _, tensor, roles in part.tensors():
            if any(role in shorter for role in roles):
                yield tensor, tuple(shorter.get(role) for role in roles)


def sliced(tensor: Tensor, kept: tuple[Tensor | None, ...]) -> Tensor:
    """A copy with only the positions `kept` of each of its first axes (None: all); the memory format stays."""
    kept = tuple(None if positions is None else positions.to(tensor.device) for positions in kept)
    first, second = (*kept, None, None)[:2]
    if tensor.device.type == "cpu" and tensor.numel() > BLOCK and second is not None and len(kept) == 2:
        data = _by_blocks(tensor, torch.arange(len(tensor)) if first is None else first, second)
    else:
        data = tensor
        for axis, positions in enumerate(kept):
            data = data if positions is None else data.index_select(axis, positions)
    for dims, format in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if tensor.dim() == dims and tensor.is_contiguous(memory_format=format) and not tensor.is_contiguous():
            data = data.contiguous(memory_format=format)
    return data


def _by_blocks(tensor: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`tensor[rows][:, columns]`, some rows at a time: what is between the two selections never leaves the cache."""
    data = tensor.new_empty(len(rows), len(columns), *tensor.shape[2:])
    step = max(1, BLOCK // max(1, tensor[:1].numel()))
    for some, block in zip(torch.split(rows, step), torch.split(data, step), strict=True):
        torch.index_select(tensor.index_select(0, some), 1, columns, out=block)
    return data
