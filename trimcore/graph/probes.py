"""Insert a function after each counted activation of a traced network, to count the activations or to gate them."""

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.nodes import target

RETURN_NEW_TENSORS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def with_probes(
    graph: ChannelGraph, probe: Callable[[Tensor, int], object], *, replace: bool = False,
    after: Sequence[str] | None = None,
) -> fx.GraphModule:  # fmt: skip
    """A copy of the network that calls `probe(activation, index)` after each site of `graph.sites`, or after each node
    named in `after`. `index` is the position of the site or node in that list.

    With `replace`, the result of `probe` replaces the activation; otherwise it is ignored. All modules are shared with
    the original, which is unchanged.
    """
    traced = copy.deepcopy(graph.graph)
    nodes = {node.name: node for node in traced.nodes}
    for number, name in enumerate([site.node for site in graph.sites] if after is None else after):
        node = nodes[name]
        with traced.inserting_after(node):
            probed = traced.call_function(probe, (node, number))
        if replace:
            node.replace_all_uses_with(probed, lambda user, probed=probed: user is not probed)
    return fx.GraphModule(graph.held, traced)


def use_in_place_relus(network: fx.GraphModule) -> fx.GraphModule:
    """Run ReLUs in place where nothing else reads their input. Changes and returns `network`, but not its modules.

    The results are the same. On a CPU this saves allocating memory, which takes longer than the counting itself.
    """
    modules = dict(network.named_modules())
    for node in network.graph.nodes:
        if _is_relu(node, modules) and (before := node.all_input_nodes[0]).op == "call_module":
            only_reader = len(before.users) == 1 and not _has_hooks(modules[before.target])
            if only_reader and type(modules[before.target]) in RETURN_NEW_TENSORS:
                node.op, node.target, node.args, node.kwargs = "call_function", torch.relu_, (before,), {}
    network.recompile()
    return network


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        module = modules[target(node)]
        return type(module) is nn.ReLU and not _has_hooks(module)
    return node.target in (F.relu, torch.relu) or (node.op, node.target) == ("call_method", "relu")


def _has_hooks(module: nn.Module) -> bool:
    """A module with hooks must be called unchanged, because its hooks see inputs and outputs."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
