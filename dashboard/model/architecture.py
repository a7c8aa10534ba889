"""What the page Model shows of an architecture: its layers as a table, and why some of them are frozen."""

import pandas as pd

from dashboard.charts.tables import counted
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import Cost


def layer_table(graph: ChannelGraph, cost: Cost) -> pd.DataFrame:
    """One row per layer in depth order: layer, kind, width (0 for parts without neurons), parameters, macs, frozen (the
    reason, or ""), note (the reason; or the layer that it is cut together with, its attention heads, and that it has no
    activation)."""
    leaders = {other: layer.leader for layer in graph.layers.values() for other in layer.tied}
    rows = [
        (name, c.kind, c.width, c.parameters, c.macs, graph.layers[name].reason, leaders.get(name, ""))
        for name, c in cost.layers.items()
    ]
    table = pd.DataFrame(rows, columns=["layer", "kind", "width", "parameters", "macs", "frozen", "leader"])
    own = zip(table.layer, table.frozen, table.leader, strict=True)
    notes = [why or "; ".join(_notes(graph, name, leader)) for name, why, leader in own]
    return table.assign(note=notes).drop(columns="leader")


def _notes(graph: ChannelGraph, name: str, leader: str) -> list[str]:
    heads = {head for head in graph.heads.get(name, ()) if head is not None}
    return [
        *([f"cut together with {leader}"] if leader else []),
        *([counted(len(heads), "head")] if heads else []),
        *(["no activation"] if not graph.has_activation(name) else []),
    ]


def trimmable_neurons(graph: ChannelGraph) -> int:
    """The number of neurons that can be removed. Layers that are cut together count once."""
    return sum(graph.layers[name].width for name in graph.trimmable())


def reasons_text(reasons: list[tuple[str, int, int]]) -> str:
    """The result of `frozen_reasons` as one sentence, and another for parts without neurons, such as attention."""
    layers = [f"{why} ({counted(count, 'layer')})" for why, neurons, count in reasons if neurons]
    parts = [f"{why} ({counted(count, 'part')})" for why, neurons, count in reasons if not neurons]
    frozen = sum(neurons for _, neurons, _ in reasons)
    text = f"{frozen:,} neurons are frozen. Reasons: {'; '.join(layers)}." if layers else ""
    return f"{text} Parts without neurons: {'; '.join(parts)}.".strip() if parts else text
