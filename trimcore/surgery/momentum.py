"""Carry an optimizer's state over to the smaller network: momentum is sliced like the weights it belongs to."""

import copy

import torch
from torch import Tensor, nn

from trimcore.errors import TrimError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.removal import Cut, removed_groups
from trimcore.surgery.cut import cut_tensors, sliced


def carry_over(
    optimizer: torch.optim.Optimizer,
    graph: ChannelGraph,
    plan: Cut,
    small: nn.Module,
    into: torch.optim.Optimizer | None = None,
) -> torch.optim.Optimizer:
    """An optimizer for `small` with the state of `optimizer`. `prune` must have made `small` with `plan`.

    State in the shape of a parameter (momentum, Adam's moments) is reduced to the kept weights; other state (step
    counts) is copied. `into` is an optimizer of `small` that receives the state and keeps its own settings. Without it,
    a new optimizer of the same class and with the same settings is created. `optimizer` is unchanged.

    Raises TrimError for a parameter that does not belong to the network, and for state that cannot be sliced (factored
    moments).
    """
    names = {id(p): name for name, p in graph.model.named_parameters(remove_duplicate=False)}
    smaller = dict(small.named_parameters(remove_duplicate=False))
    positions = graph.fine.kept(removed_groups(graph, plan))
    kept = {id(tensor): of_axes for tensor, of_axes in cut_tensors(graph, positions)}
    if foreign := [p for g in optimizer.param_groups for p in g["params"] if id(p) not in names]:
        shape = tuple(foreign[0].shape)
        raise TrimError(f"the optimizer has a parameter of shape {shape} that does not belong to the network")
    if into is None:
        groups = [{**g, "params": [smaller[names[id(p)]] for p in g["params"]]} for g in optimizer.param_groups]
        into = type(optimizer)(groups)  # type: ignore[call-arg]  # each class has its own defaults
    for parameter, state in optimizer.state.items():
        name = names[id(parameter)]
        into.state[smaller[name]] = {
            key: _reduced(value, parameter, kept.get(id(parameter), ()), f"{key} of {name}")
            for key, value in state.items()
        }
    return into


def _reduced(value: object, parameter: Tensor, kept: tuple[Tensor | None, ...], what: str) -> object:
    if not isinstance(value, Tensor) or value.dim() == 0:
        return copy.deepcopy(value)
    if value.shape != parameter.shape:
        shapes = f"has shape {tuple(value.shape)}, but its parameter has shape {tuple(parameter.shape)}"
        raise TrimError(f"{what} {shapes}; it cannot be carried over")
    return sliced(value.clone(), kept)
