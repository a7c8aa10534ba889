"""The table behind the drawing of a network: its layers before and after a plan, and which are cut together."""

from collections import Counter
from collections.abc import Mapping

import pandas as pd

from dashboard.charts.network import LAYERS
from trimcore.graph.channel_graph import ChannelGraph, Layer
from trimcore.graph.costs import Cost


def layer_rows(
    graph: ChannelGraph, before: Cost, after: Cost | None = None, k: Mapping[str, int] | None = None,
    k_after: Mapping[str, int] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """One row per layer in depth order: layer, kind, before and after (neurons; 0 for parts without neurons),
    parameters and macs (before, and `_after`), k and k_after (neurons per maxout unit; 0 without units), frozen (the
    reason, or ""), inside (how many neurons of the layer are removed at a time, as text, or "").

    Without `after`, nothing changes. `k`: the neurons per unit before; by default those of the graph.
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
    """How many neurons of a trimmable layer can only be removed together: "4 at a time"."""
    sizes = set(Counter(layer.neurons.tolist()).values()) if layer.trimmable else {1}
    least, most = min(sizes), max(sizes)
    return "" if most == 1 else f"{least} to {most} at a time" if least < most else f"{most} at a time"


def cut_together(graph: ChannelGraph) -> pd.DataFrame:
    """The layers that share removable neurons, so that a cut in one cuts the others: group (1, 2, ... in the order of
    their first layers), layer; one row per layer in depth order. Layers that are cut alone are in no group.

    Layers that share only some of their neurons are in one group, too. So are layers that are tied only through a third
    one.
    """
    owner: dict[int, str] = {}  # channel group -> a layer that contains it
    bundle: dict[str, list[str]] = {}  # layer -> all layers tied to it
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


def drawing_caption(groups: pd.DataFrame) -> str:
    """The caption below the drawing, which explains how to read it."""
    text = "The input is at the top. The length of a bar is the square root of the layer's width."
    joined = " A numbered line joins layers that are cut together: a neuron removed from one is removed from all."
    return text + (joined if len(groups) else " Each layer can be cut on its own.")
