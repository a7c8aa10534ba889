"""What the page Model shows of an architecture: its layers as a table, and why some of them are frozen."""

import pandas as pd

from dashboard.charts.tables import counted
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import Cost


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
    """(generalized reason, neurons, layers), the most common reason first. Parts without neurons are separate."""
    widths_of: dict[tuple[str, bool], list[int]] = {}
    for layer in graph.layers.values():
        if layer.reason:
            widths_of.setdefault((_generalized(layer.reason, graph), layer.width > 0), []).append(layer.width)
    reasons = [(reason, sum(widths), len(widths)) for (reason, _), widths in widths_of.items()]
    return sorted(reasons, key=lambda row: (-row[1], -row[2]))


def reasons_text(reasons: list[tuple[str, int, int]]) -> str:
    """The result of `frozen_reasons` as one sentence, and another for parts without neurons, such as attention."""
    layers = [f"{why} ({counted(count, 'layer')})" for why, neurons, count in reasons if neurons]
    parts = [f"{why} ({counted(count, 'part')})" for why, neurons, count in reasons if not neurons]
    frozen = sum(neurons for _, neurons, _ in reasons)
    text = f"{frozen:,} neurons are frozen. Reasons: {'; '.join(layers)}." if layers else ""
    return f"{text} Parts without neurons: {'; '.join(parts)}.".strip() if parts else text


def _generalized(reason: str, graph: ChannelGraph) -> str:
    """A reason without the names of single operations and layers, so that equal reasons are counted together."""
    operations = {node.name for node in graph.graph.nodes}
    words = reason.split()
    if len(words) > 2 and words[-2] == "at" and words[-1] in operations:
        words = words[:-2]
    if words[0] in operations or words[0] in graph.parts:
        words[0] = "an operation" if words[0] in operations else "it"
    return " ".join("another layer" if word in graph.parts else word for word in words)
