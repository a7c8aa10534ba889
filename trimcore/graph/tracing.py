"""Build the channel graph of a network: `capture` records its operations, and `rules` track channels through them."""

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from trimcore.errors import NotTrimmable, first_line
from trimcore.graph import rules
from trimcore.graph.aliases import aliases_of, is_in_place
from trimcore.graph.capture import capture
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.channels import Channels, Value, leaves_of, with_flags
from trimcore.graph.computed import computed_weights
from trimcore.graph.meta import Args, Kwargs, execute, macs_of, map_leaves, shapes_on_meta
from trimcore.graph.nodes import operand, target
from trimcore.graph.resolution import resolve
from trimcore.graph.rules.placed import call_placed
from trimcore.graph.tracer import Tracer
from trimcore.layers.places import is_placed
from trimcore.layers.wrappers import unwrapped


def trace(
    model: nn.Module, example_input: Tensor | tuple[Any, ...], *, whole_heads: bool = False, embeddings: bool = False
) -> ChannelGraph:
    """Trace `model` and track its channels. Weights are neither changed nor copied, and may be on the meta device.

    `example_input` only gives shapes: a batch (N, C, H, W), or a tuple of inputs, which may be lists or dicts of
    tensors. The network's forward function runs on inputs of these shapes without computing values, in evaluation mode,
    and also in training mode if some modules are used only in training; its mode is unchanged afterwards. A model in
    DataParallel, DistributedDataParallel or torch.compile is taken out of its wrapper.

    With `whole_heads`, the queries, keys and values of an attention head are only removed together. With `embeddings`,
    channels that a LayerNorm, an RMSNorm or a GroupNorm of one group normalises together may be removed. They are then
    left out of its mean and variance, so the other channels are normalised without them.

    Raises NotTrimmable if the forward function fails, reads values that only data decides, or returns no tensor.
    """
    model = unwrapped(model)
    inputs = shapes_on_meta(example_input if isinstance(example_input, tuple) else (example_input,))
    tracer = Tracer(model, capture(model, inputs, rules.is_layer), inputs, whole_heads, embeddings)
    for graph, lost in zip(tracer.graphs, tracer.lost, strict=True):
        walk(tracer, graph)
        for node in lost:
            tracer.freeze_counted(node, [node])
        tracer.training_only = True
    return resolve(tracer)


def walk(tracer: Tracer, graph: fx.Graph) -> None:
    """Compute the value of every node of the graph. Raises NotTrimmable with the name of a node that fails."""
    inputs = iter(tracer.inputs)
    tracer.computed |= computed_weights(graph, tracer.held, tracer.stored_ids)
    tracer.weight_steps.update(step for computed in tracer.computed.values() for step in computed.steps)
    for node in graph.nodes:
        if node.op == "placeholder":
            tracer.env[node] = _input(tracer, node, inputs)
        elif node.op == "output":
            _output(tracer, node)
        else:
            try:
                tracer.env[node] = _call(tracer, node)
            except NotTrimmable:
                raise
            except (RuntimeError, IndexError, TypeError, ValueError, AttributeError, KeyError) as error:
                raise NotTrimmable(f"{node.name}: {first_line(error)}") from error


def _input(tracer: Tracer, node: fx.Node, inputs: Iterator[Any]) -> Value:
    def as_channels(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        dtype = torch.float32 if value.is_floating_point() else value.dtype
        return tracer.frozen_value(value.shape, "it is an input of the network", dtype)

    value: Any = next(inputs, node.args[0] if node.args else None)
    return fx.node.map_aggregate(value, as_channels)


def _output(tracer: Tracer, node: fx.Node) -> None:
    results = _values(tracer, node.args)
    tracer.freeze(results, "it is an output of the network")
    if not tracer.training_only:
        tracer.outputs = [result.shape for result in leaves_of(results, Channels)]


def _values(tracer: Tracer, operands: Any) -> Any:
    """The operands with each node replaced by its value."""
    return fx.node.map_arg(operands, tracer.env.__getitem__)


def _call(tracer: Tracer, node: fx.Node) -> Value:
    if node.op == "get_attr":
        value = tracer.held[target(node)]
        if isinstance(value, int):
            tracer.sizes.attributes[node] = {target(node)}
        return value
    args, kwargs = _values(tracer, node.args), _values(tracer, node.kwargs)
    if not leaves_of((args, kwargs), Channels):
        return _constant(tracer, node, args, kwargs)
    rule = rules.rule_for(tracer, node)
    extra: dict[str, Any] = {}
    if "part" in node.meta:
        args, kwargs = (args[0] if args else kwargs["input"],), {}
    if rule in rules.TAKES_MODULE:
        extra = {"module": tracer.module(node)}
    if rule is not None and node.op == "call_module" and is_placed(tracer.module(node)):
        return call_placed(tracer, node, rule, args[0], extra)
    if rule is not None and (kwargs.get("out") is not None or not _accepts(rule, 2 + len(args), (*kwargs, *extra))):
        rule = None
    if rule not in rules.CHECKS_SIZES:
        tracer.freeze_counted(node, node.all_input_nodes)
    result = rule(tracer, node, *args, **kwargs, **extra) if rule else tracer.without_rule(node, args, kwargs)
    if isinstance(result, Channels) and result.shape != node.meta.get("shape", result.shape):
        result = tracer.without_rule(node, args, kwargs)  # the rule does not know this form of the call
    if isinstance(result, torch.Size):
        tracer.sizes.record_shape(node, args[0])
    elif rule is rules.size:
        tracer.sizes.record_length(node, *args, **kwargs)
    if is_in_place(tracer, node):
        _after_in_place(tracer, node)
    return result


def _after_in_place(tracer: Tracer, node: fx.Node) -> None:
    """Clear the zero flags of all aliases of a value that was changed in place, also of those among several results."""
    for alias in aliases_of(tracer, operand(node)) - {node}:
        if alias in tracer.env:
            tracer.env[alias] = map_leaves(
                tracer.env[alias], lambda value: with_flags(value.ids) if isinstance(value, Channels) else value
            )


def _constant(tracer: Tracer, node: fx.Node, args: Args, kwargs: Kwargs) -> Any:
    """The value of a node that depends on numbers and stored tensors alone. Large tensors are on the meta device."""
    if "value" not in node.meta:  # a number
        tracer.sizes.record_computed(node, len(args[0]) if args and isinstance(args[0], tuple) else 0)
        return execute(node, args, kwargs, tracer.modules)
    if node not in tracer.weight_steps:
        tracer.freeze_counted(node, node.all_input_nodes)
    if node.op == "call_module":
        reason = f"{node.name} does not depend on the input of the network"
        tracer.add_fixed(node, macs_of(node, args, kwargs, tracer.modules), reason)
    return node.meta["value"]


@functools.cache
def _accepts(rule: rules.Rule, count: int, names: tuple[str, ...]) -> bool:
    """Whether a rule can be called with `count` positional arguments and these keyword arguments."""
    try:
        inspect.signature(rule).bind(*[None] * count, **dict.fromkeys(names))
    except TypeError:
        return False
    return True
