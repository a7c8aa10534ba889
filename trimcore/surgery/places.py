"""The places that channels keep in a layer that is cut (see `layers.places`)."""

import torch
from torch import Tensor, nn

from trimcore.graph.channel_graph import ChannelGraph, Part
from trimcore.layers.places import INPUTS, OUTPUTS, set_places


def keep_places(graph: ChannelGraph, removed: Tensor, modules: dict[str, nn.Module]) -> None:
    """Set the places of all layers of the smaller network, `modules` by name, whose channels keep them if the groups of
    the mask `removed` are removed."""
    kept_places = removed & graph.padded
    if not kept_places.any():
        return
    for part in graph.parts.values():
        if part.kind in ("scale", "fixed", "maxout"):
            continue
        inputs = part.groups.get("in", part.outputs)
        if kept_places[inputs].any() or kept_places[part.outputs].any():
            read = removed & ~graph.uncut(part, "in")
            set_places(modules[part.name], _inputs(part, inputs, read, kept_places),
                       _outputs(part, removed, kept_places))  # fmt: skip


def _inputs(part: Part, groups: Tensor, removed: Tensor, placed: Tensor) -> Tensor | None:
    """The channel that each remaining input reads; None if it reads all of them in order."""
    known = part.module._buffers.get(INPUTS)
    stays = ~removed[groups]
    if known is not None:
        return known[stays.to(known.device)].clone()
    if not (placed & removed)[groups].any():
        return None
    present = stays | placed[groups]  # the channels that the activation still has
    return (present.cumsum(0) - 1)[stays].to(_device(part))


def _outputs(part: Part, removed: Tensor, placed: Tensor) -> Tensor | None:
    """The output that each channel shows, or the number of outputs for a zero; None for all outputs in order."""
    groups = part.outputs
    known = part.module._buffers.get(OUTPUTS)
    width = len(groups)
    layout = torch.arange(width) if known is None else known.cpu()
    if known is None and not placed[groups].any():
        return None
    stays = torch.cat([~removed[groups], torch.zeros(1, dtype=torch.bool)])
    present = torch.cat([~removed[groups] | placed[groups], torch.ones(1, dtype=torch.bool)])
    count = int(stays.sum())
    number = torch.where(stays, stays.cumsum(0) - 1, count)
    return number[layout[present[layout]]].to(_device(part))


def _device(part: Part) -> torch.device:
    return next(tensor.device for _, tensor, _ in part.tensors())
