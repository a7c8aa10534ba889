"""A network as it is drawn: its layers in depth order before and after a plan, and which of them are cut together."""

from collections import Counter
from collections.abc import Mapping

import pandas as pd

from dashboard.charts.network import LAYERS
from trimcore.graph.channel_graph import ChannelGraph, Layer
from trimcore.graph.costs import Cost


def drawn_layers(
    graph: ChannelGraph, before: Cost, after: Cost | None = None, k: Mapping[str, int] | None = None,
    k_after: Mapping[str, int] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """One row a layer in depth order: layer, kind, before and after (neurons; 0 for parts without), parameters and macs
    (before, and `_after`), k and k_after (neurons a maxout unit; 0 where there is none), frozen (the reason, or ""),
    inside (in words, how neurons of the layer only go together, or "").

    Without `after` nothing changes. `k` are the neurons a unit before, those of the graph unless given.
    """
    k = {name: units.k for name, units in graph.units.items()} if k is None else k
    k_after = k if k_after is None else k_after
    after = before if after is None else after
    rows = []
    for name, was in before.layers.items():
        now, layer = after.layers[name], graph.layers[name]
        rows.append((
            name, was.kind, was.width, now.width, was.parameters, now.parameters, was.macs, now.macs, k.get(name, 0),
            k_after.get(name, 0), layer.reason, "" if name in graph.units else _inside(layer),
        ))  # fmt: skip
    return pd.DataFrame(rows, columns=LAYERS)


def _inside(layer: Layer) -> str:
    """How the neurons of a layer that may go hang together among themselves: "4 at a time"."""
    sizes = set(Counter(layer.neurons.tolist()).values()) if layer.trimmable else {1}
    least, most = min(sizes), max(sizes)
    return "" if most == 1 else f"{least} to {most} at a time" if least < most else f"{most} at a time"


def cut_together(graph: ChannelGraph) -> pd.DataFrame:
    """The layers that share neurons which may go, so that a cut in one cuts the others: group (1, 2, ... in the order
    of their first layers), layer; one row a layer in depth order. Layers that go alone are in no group.

    Layers that share some of their neurons are in one group too, as are those that only a third one ties together.
    """
    owner: dict[int, str] = {}  # channel group -> a layer that has it
    bundle: dict[str, list[str]] = {}  # layer -> all that are tied to it
    for layer in graph.layers.values():
        channels = layer.neurons.tolist()
        free = {channels[neuron] for neuron in graph.candidates(layer.name)}
        met = {id(found): found for found in (bundle[owner[group]] for group in free if group in owner)}
        joined = [*(name for found in met.values() for name in found), layer.name]
        bundle.update(dict.fromkeys(joined, joined))
        owner.update(dict.fromkeys(free, layer.name))
    numbers: dict[int, int] = {}
    rows = [(numbers.setdefault(id(found), len(numbers) + 1), name)
            for name in graph.layers if len(found := bundle[name]) > 1]  # fmt: skip
    return pd.DataFrame(rows, columns=["group", "layer"])


def how_to_read(groups: pd.DataFrame) -> str:
    """How the drawing is read, beneath it."""
    text = "The input is on top. A bar is as long as the square root of the layer's width."
    joined = " A numbered line joins layers that are cut together: what goes from one of them goes from all."
    return text + (joined if len(groups) else " No two layers have to be cut together.")
