"""What the page Model shows of an architecture: its layers as a table, and why some of them are frozen."""

import re

import pandas as pd

from dashboard.charts.tables import counted
from trimcore.graph.channel_graph import ChannelGraph, Layer
from trimcore.graph.costs import Cost

GENERAL = [  # (pattern of a reason in `trimcore.graph`, general text); `part` is the layer that the reason names
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
    (r".+ sets its shape from the number of other channels",
     "an operation sets its shape from the number of channels of another tensor"),
    (r".+ (?P<what>(computes with|combines it with|broadcasts|normalises|selects channels|spreads its channels) .+)",
     "an operation {what}"),
]  # fmt: skip


def layer_table(graph: ChannelGraph, cost: Cost) -> pd.DataFrame:
    """One row per layer in depth order: layer, kind, width (0 for parts without neurons), parameters, macs, frozen (the
    reason, or ""), note (the reason, or the layer that it is cut together with)."""
    leaders = {other: layer.leader for layer in graph.layers.values() for other in layer.tied}
    rows = [
        (name, c.kind, c.width, c.parameters, c.macs, graph.layers[name].reason, leaders.get(name, ""))
        for name, c in cost.layers.items()
    ]
    table = pd.DataFrame(rows, columns=["layer", "kind", "width", "parameters", "macs", "frozen", "leader"])
    together = ("cut together with " + table.leader).where(table.leader.ne("") & table.frozen.eq(""), "")
    return table.assign(note=table.frozen + together).drop(columns="leader")


def trimmable_neurons(graph: ChannelGraph) -> int:
    """The number of neurons that can be removed. Layers that are cut together count once."""
    return sum(graph.layers[name].width for name in graph.trimmable())


def frozen_reasons(graph: ChannelGraph) -> list[tuple[str, int, int]]:
    """(general reason, neurons, layers), the most common reason first. Parts without neurons are separate."""
    widths_of: dict[tuple[str, bool], list[int]] = {}
    for layer in graph.layers.values():
        if layer.reason:
            widths_of.setdefault((_generalized(layer), layer.width > 0), []).append(layer.width)
    reasons = [(reason, sum(widths), len(widths)) for (reason, _), widths in widths_of.items()]
    return sorted(reasons, key=lambda row: (-row[1], -row[2]))


def reasons_text(reasons: list[tuple[str, int, int]]) -> str:
    """The result of `frozen_reasons` as one sentence, and another for parts without neurons, such as attention."""
    layers = [f"{why} ({counted(count, 'layer')})" for why, neurons, count in reasons if neurons]
    parts = [f"{why} ({counted(count, 'part')})" for why, neurons, count in reasons if not neurons]
    frozen = sum(neurons for _, neurons, _ in reasons)
    text = f"{frozen:,} neurons are frozen. Reasons: {'; '.join(layers)}." if layers else ""
    return f"{text} Parts without neurons: {'; '.join(parts)}.".strip() if parts else text


def _generalized(layer: Layer) -> str:
    """The reason why a layer is frozen, without the names of operations and layers, so that equal reasons are counted
    together."""
    for pattern, text in GENERAL:
        if found := re.fullmatch(pattern, layer.reason):
            own = found.groupdict().get("part") in (None, layer.name)
            return text.format(it="it" if own else "a connected layer", **found.groupdict())
    return layer.reason
