"""An optimizer's memory, carried over to the smaller network: momentum is sliced like the weights it belongs to."""

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
    """The optimizer of the traced network as one of `small`, which `prune` made of it with `plan`.

    State of the shape of a parameter (momentum, Adam's moments) keeps what belongs to the weights that are kept; the
    rest (step counts) is copied. `into` is an optimizer of `small` that takes the state and keeps its own settings;
    without it a new one of the same kind and settings is made. `optimizer` is left as it was.

    Raises TrimError for a parameter that is not the network's, and for state that cannot be sliced (factored moments).
    """
    names = {id(p): name for name, p in graph.model.named_parameters(remove_duplicate=False)}
    smaller = dict(small.named_parameters(remove_duplicate=False))
    positions = graph.fine.kept(removed_groups(graph, plan))
    kept = {id(tensor): of_axes for tensor, of_axes in cut_tensors(graph, positions)}
    if strangers := [p for g in optimizer.param_groups for p in g["params"] if id(p) not in names]:
        raise TrimError(f"the optimizer has a parameter of shape {tuple(strangers[0].shape)} that the network has not")
    if into is None:
        groups = [{**g, "params": [smaller[names[id(p)]] for p in g["params"]]} for g in optimizer.param_groups]
        into = type(optimizer)(groups)  # type: ignore[call-arg]  # every kind has defaults of its own
    for parameter, state in optimizer.state.items():
        name = names[id(parameter)]
        into.state[smaller[name]] = {
            key: _carried(value, parameter, kept.get(id(parameter), ()), f"{key} of {name}")
            for key, value in state.items()
        }
    return into


def _carried(value: object, parameter: Tensor, kept: tuple[Tensor | None, ...], what: str) -> object:
    if not isinstance(value, Tensor) or value.dim() == 0:
        return copy.deepcopy(value)
    if value.shape != parameter.shape:
        raise TrimError(f"{what} has shape {tuple(value.shape)}, not that of its parameter: it cannot be carried over")
    return sliced(value.clone(), kept)
