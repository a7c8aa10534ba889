"""Cut neurons out of a network, which makes it physically smaller.

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
from trimcore.graph.comparison import trace_and_compare
from trimcore.graph.removal import Cut, removed_groups, unit_sizes
from trimcore.graph.tracing import trace
from trimcore.layers.maxout import set_units
from trimcore.layers.wrappers import unwrapped
from trimcore.surgery.fold import absorb, shift_of
from trimcore.surgery.places import keep_places
from trimcore.surgery.widths import set_widths

BLOCK = 1 << 18  # elements; 1 MB of float32


def prune(
    model: nn.Module, plan: Cut, example_input: Tensor | tuple[Any, ...] | None = None, *,
    graph: ChannelGraph | None = None, within: Iterable[str] = (),
) -> nn.Module:  # fmt: skip
    """A smaller copy of `model` without the planned neurons. `model` itself is unchanged.

    `plan` is a `Plan` or a mapping layer -> neurons to remove. Removing a neuron of a maxout unit removes its whole
    unit. In the layers `within` (for a `Plan`, those with the rule `maxout`), only the neuron is removed, and the unit
    takes its maximum over the remaining ones. All units of a layer must lose the same number of neurons. With one
    neuron left in each unit, the maximum is dropped.

    Pass `example_input` (a batch, for its shape) or the `graph` that `trace` returned for this model. Weights, buffers,
    modes, `requires_grad`, dtype, device, memory format and hooks are kept; gradients are not. Hooks are not analysed,
    so the guarantee does not hold if a hook changes the output of a layer. Raises NotTrimmable for a layer that cannot
    be cut, an index out of range, or a plan that would leave a layer empty.

    >>> from trimcore import build
    >>> small = prune(build("lenet5"), {"conv2": [3, 17]}, torch.zeros(1, 1, 28, 28))
    >>> small.conv2.out_channels, small.fc1.in_features
    (48, 768)
    """
    model = unwrapped(model)
    if graph is None:
        if example_input is None:
            raise NotTrimmable("prune needs an example_input (a batch of the network's input shape) or a graph")
        graph = trace(model, example_input)
    elif graph.model is not model:
        raise NotTrimmable("the graph was traced from a different model than the one to prune")
    return cut(graph, plan, within).model


def cut(graph: ChannelGraph, plan: Cut, within: Iterable[str] = ()) -> ChannelGraph:
    """Like `prune`, for a traced network. Returns the graph of the smaller network.

    The smaller network is traced and compared with the full one (see `trace_and_compare`). This raises NotTrimmable for
    a forward function that depends on widths.
    """
    return cut_groups(graph, removed_groups(graph, plan, within))


def cut_groups(graph: ChannelGraph, removed: Tensor) -> ChannelGraph:
    """Like `cut`, without the channel groups of the mask `removed`, over the groups of `graph.fine`. (group_count,)"""
    kept = graph.fine.kept(removed)
    return trace_and_compare(graph, kept, _build_smaller(graph, removed, kept))


def _build_smaller(graph: ChannelGraph, removed: Tensor, kept: Kept) -> nn.Module:
    memo: dict[int, object] = {}  # replacements for `deepcopy`, so that it never copies removed weights
    keep_alive = []
    for tensor, positions in cut_tensors(graph, kept):
        data = sliced(tensor.detach(), positions)
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(data, requires_grad=tensor.requires_grad) if is_parameter else data
        keep_alive.append(tensor)
    for module in graph.model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:  # a stored result, such as a loss
                memo[id(value)] = value.detach().clone()
            elif type(value) in (OrderedDict, set) and not value:  # empty hook containers, which are slow to deep-copy
                memo[id(value)] = type(value)()
    small = copy.deepcopy(graph.model, memo)
    modules, parts = dict(small.named_modules()), graph.fine.parts
    for part in parts.values():
        own = kept[part.name]
        shorter = any(len(own[role]) < len(groups) for role, groups in part.groups.items())
        if shorter and part.name in modules:  # a stored tensor has no width attributes
            set_widths(modules[part.name], {role: len(positions) for role, positions in own.items()})
    keep_places(graph.fine, removed, modules)
    for fold in graph.folds:
        shift = shift_of(fold, parts, removed & graph.fine.held_behind)
        if shift is not None:
            absorb(modules[fold.into], kept[fold.consumer]["out"], shift)
    return set_units(small, {graph.units[layer].maxout: k for layer, k in unit_sizes(graph, removed).items()})


def cut_tensors(graph: ChannelGraph, kept: Kept) -> Iterable[tuple[Tensor, tuple[Tensor | None, ...]]]:
    """Yields each tensor that shrinks when only the positions `kept` (see `ChannelGraph.kept`) remain, with the
    positions to keep along its first axes (None for all)."""
    for part in graph.fine.parts.values():
        own = kept[part.name]
        shorter: dict[str | None, Tensor] = {
            role: own[role] for role, groups in part.groups.items() if len(own[role]) < len(groups)
        }
        for _, tensor, roles in part.tensors():
            if any(role in shorter for role in roles):
                yield tensor, tuple(shorter.get(role) for role in roles)


def sliced(tensor: Tensor, kept: tuple[Tensor | None, ...]) -> Tensor:
    """A copy with only the positions `kept` along the first axes (None for all). The memory format is kept."""
    kept = tuple(None if positions is None else positions.to(tensor.device) for positions in kept)
    first, second = (*kept, None, None)[:2]
    if tensor.device.type == "cpu" and tensor.numel() > BLOCK and second is not None and len(kept) == 2:
        data = _select_in_blocks(tensor, torch.arange(len(tensor)) if first is None else first, second)
    else:
        data = tensor
        for axis, positions in enumerate(kept):
            data = data if positions is None else data.index_select(axis, positions)
    for dims, format in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if tensor.dim() == dims and tensor.is_contiguous(memory_format=format) and not tensor.is_contiguous():
            data = data.contiguous(memory_format=format)
    return data


def _select_in_blocks(tensor: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`tensor[rows][:, columns]`, a block of rows at a time, so that the intermediate result stays in the cache."""
    data = tensor.new_empty(len(rows), len(columns), *tensor.shape[2:])
    step = max(1, BLOCK // max(1, tensor[:1].numel()))
    for indices, block in zip(torch.split(rows, step), torch.split(data, step), strict=True):
        torch.index_select(tensor.index_select(0, indices), 1, columns, out=block)
    return data
