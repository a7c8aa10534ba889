"""A traced network with a function behind each counted activation: how activations are counted and gated."""

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.nodes import target

MAKE_NEW_TENSORS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def watched(
    graph: ChannelGraph, look: Callable[[Tensor, int], object], *, instead: bool = False,
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


def rectifying_in_place(network: fx.GraphModule) -> fx.GraphModule:
    """The same network, its ReLUs in place where nobody else reads what they are given. Changes `network`, not its
    modules. The values stay the same; on a CPU it saves the time that fresh memory takes, which is more than counting.
    """
    modules = dict(network.named_modules())
    for node in network.graph.nodes:
        if _is_relu(node, modules) and (before := node.all_input_nodes[0]).op == "call_module":
            alone = len(before.users) == 1 and not _has_hooks(modules[before.target])
            if alone and type(modules[before.target]) in MAKE_NEW_TENSORS:
                node.op, node.target, node.args, node.kwargs = "call_function", torch.relu_, (before,), {}
    network.recompile()
    return network


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        module = modules[target(node)]
        return type(module) is nn.ReLU and not _has_hooks(module)
    return node.target in (F.relu, torch.relu) or (node.op, node.target) == ("call_method", "relu")


def _has_hooks(module: nn.Module) -> bool:
    """Then it is called as it is, since they see what goes in and out."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
