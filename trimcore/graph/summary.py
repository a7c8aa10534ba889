"""How much of a network can be trimmed, and what holds the rest, in words."""

import re

from trimcore.graph.channel_graph import ChannelGraph, Layer

GENERAL = [  # (pattern of a reason in this room, general text); `part` is the layer that the reason names
    (r"(?P<what>there is no rule for .+|its (channels|input) cannot be tracked) at .+", "{what}"),
    (r"(?P<what>its channels are spread over several axes) at .+", "{what}"),
    (r"it reaches .+ (?P<what>without passing through an activation)", "it reaches another layer {what}"),
    (r".+ (?P<what>has a pre-hook, a parametrization or a replaced forward function)", "a module {what}"),
    (r".+ (?P<what>does not depend on the input of the network)", "it {what}"),
    (r"(?P<part>.+) (?P<what>is also called on an input that cannot be tracked)", "{it} {what}"),
    (r"(?P<part>.+) shares its weights with .+", "{it} shares its weights with another layer"),
    (r".+ reads .+ along another axis", "an operation reads a stored tensor along another axis"),
    (r".+ hard-codes the length \d+ of its channel axis; use -1 instead",
     "an operation hard-codes the length of its channel axis (use -1 instead)"),
    (r".+ hard-codes the shape of its channels", "an operation hard-codes the shape of its channels"),
    (r".+ has no finite value at zero", "an operation has no finite value at zero"),
    (r".+ has a filter for each channel", "an operation has a filter for each channel"),
    (r".+ takes its shape from another value", "an operation takes its shape from another value"),
    (r".+ sets its shape from another width", "an operation sets its shape from another width"),
    (r".+ sets its shape from the number of other channels",
     "an operation sets its shape from the number of channels of another tensor"),
    (r".+ (?P<what>computes its weights at each call)", "a module {what}"),
    (r".+ (?P<what>(sums over channels|needs operands of a fixed width|keeps its channels in their places))",
     "an operation {what}"),
    (r".+ (?P<what>(computes with|splits the channels|combines it with|broadcasts|normalises|selects channels"
     r"|spreads its channels|reduces over|adds constant) .+)", "an operation {what}"),
]  # fmt: skip
LITTLE = 0.2  # below this share, the summary is a warning


def free_share(graph: ChannelGraph) -> float:
    """The share of the neurons of all layers that can be removed, 0..1."""
    total = sum(layer.width for layer in graph.layers.values())
    return sum(len(graph.candidates(name)) for name in graph.layers) / total if total else 0.0


def frozen_reasons(graph: ChannelGraph) -> list[tuple[str, int, int]]:
    """(general reason, neurons, layers), the most common reason first. Parts without neurons are separate."""
    widths_of: dict[tuple[str, bool], list[int]] = {}
    for layer in graph.layers.values():
        if layer.reason:
            widths_of.setdefault((_generalized(layer), layer.width > 0), []).append(layer.width)
    reasons = [(reason, sum(widths), len(widths)) for (reason, _), widths in widths_of.items()]
    return sorted(reasons, key=lambda row: (-row[1], -row[2]))


def trimmable_text(graph: ChannelGraph) -> str:
    """One sentence: how much can be trimmed, and what holds most of the rest.

    >>> from trimcore import build, trace
    >>> import torch
    >>> trimmable_text(trace(build("lenet5"), torch.zeros(1, 1, 28, 28)))
    '98 % of the neurons can be removed; most of the rest cannot because it is an output of the network.'
    """
    share, reasons = free_share(graph), frozen_reasons(graph)
    percent = "More than 99" if 0.995 <= share < 1 else f"{100 * share:.0f}"
    text = f"{percent} % of the neurons can be removed"
    if not reasons:
        return f"{text}."
    return f"{text}; most of the rest cannot because {reasons[0][0]}."


def _generalized(layer: Layer) -> str:
    """The reason why a layer is frozen, without the names of operations and layers, so that equal reasons are counted
    together."""
    for pattern, text in GENERAL:
        if found := re.fullmatch(pattern, layer.reason):
            own = found.groupdict().get("part") in (None, layer.name)
            return text.format(it="it" if own else "a connected layer", **found.groupdict())
    return layer.reason
