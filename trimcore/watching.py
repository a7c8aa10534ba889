"""A traced network with a function behind each counted activation: how activations are counted and gated."""

import copy
from collections.abc import Callable, Sequence

from torch import Tensor, fx

from trimcore.graph import ChannelGraph


def watched(
    graph: ChannelGraph, look: Callable[[Tensor, int], Tensor | None], *, instead: bool = False,
    places: Sequence[str] | None = None,
) -> fx.GraphModule:  # fmt: skip
    """The network with `look(activation, number of the site)` called behind each site of `graph.sites`, or behind the
    operations `places`.

    What `look` returns takes the activation's place if `instead`, else it is dropped. All modules are shared with the
    original, which is left as it was.
    """
    traced = copy.deepcopy(graph.graph)
    nodes = {node.name: node for node in traced.nodes}
    for number, name in enumerate([site.node for site in graph.sites] if places is None else places):
        node = nodes[name]
        with traced.inserting_after(node):
            seen = traced.call_function(look, (node, number))
        if instead:
            node.replace_all_uses_with(seen, lambda user, seen=seen: user is not seen)
    return fx.GraphModule(graph.held, traced)
