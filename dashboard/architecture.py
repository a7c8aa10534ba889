"""What the Model page says of an architecture: its layers as a table, and why some of them stay as they are."""

import pandas as pd

from dashboard.charts.tables import counted
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import Cost


def layer_table(graph: ChannelGraph, cost: Cost) -> pd.DataFrame:
    """One row a layer in depth order: layer, kind, width (0 for parts without neurons), parameters, macs, frozen (the
    reason, or ""), note (the reason, or with which layer it goes)."""
    goes_with = {other: layer.leader for layer in graph.layers.values() for other in layer.tied}
    rows = [
        (name, c.kind, c.width, c.parameters, c.macs, graph.layers[name].reason, goes_with.get(name, ""))
        for name, c in cost.layers.items()
    ]
    table = pd.DataFrame(rows, columns=["layer", "kind", "width", "parameters", "macs", "frozen", "leader"])
    together = ("goes with " + table.leader).where(table.leader.ne("") & table.frozen.eq(""), "")
    return table.assign(note=table.frozen + together).drop(columns="leader")


def trimmable_neurons(graph: ChannelGraph) -> int:
    """Neurons that can be chosen to go; those of layers that only go with them are not counted again."""
    return sum(graph.layers[name].width for name in graph.trimmable())


def why_frozen(graph: ChannelGraph) -> list[tuple[str, int, int]]:
    """(reason in general words, neurons, layers), the commonest reason first; parts without neurons by themselves."""
    found: dict[tuple[str, bool], list[int]] = {}
    for layer in graph.layers.values():
        if layer.reason:
            found.setdefault((_in_general(layer.reason, graph), layer.width > 0), []).append(layer.width)
    reasons = [(reason, sum(widths), len(widths)) for (reason, _), widths in found.items()]
    return sorted(reasons, key=lambda row: (-row[1], -row[2]))


def in_words(reasons: list[tuple[str, int, int]]) -> str:
    """What `why_frozen` found as a sentence, and another one for parts without neurons, such as attention."""
    layers = [f"{why} ({counted(count, 'layer')})" for why, neurons, count in reasons if neurons]
    parts = [f"{why} ({counted(count, 'part')})" for why, neurons, count in reasons if not neurons]
    frozen = sum(neurons for _, neurons, _ in reasons)
    text = f"Why {frozen:,} neurons are frozen: {'; '.join(layers)}." if layers else ""
    return f"{text} Fixed as a whole: {'; '.join(parts)}.".strip() if parts else text


def _in_general(reason: str, graph: ChannelGraph) -> str:
    """A reason without the names of single operations and layers: what is the same everywhere is said once."""
    operations = {node.name for node in graph.graph.nodes}
    words = reason.split()
    if len(words) > 2 and words[-2] == "at" and words[-1] in operations:
        words = words[:-2]
    if words[0] in operations or words[0] in graph.parts:
        words[0] = "an operation" if words[0] in operations else "it"
    return " ".join("another layer" if word in graph.parts else word for word in words)
