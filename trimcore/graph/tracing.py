"""Build the channel graph of a network: `torch.fx` records its operations, and `rules` track channels through them."""

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from trimcore.errors import NotTrimmable, first_line
from trimcore.graph import rules
from trimcore.graph.aliases import aliases_of, check_in_place, is_in_place
from trimcore.graph.capture import capture
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.channels import Channels, Value, leaves_of, with_zero_flag
from trimcore.graph.meta import Args, Kwargs, execute, run_on_meta
from trimcore.graph.nodes import operand, target
from trimcore.graph.resolution import resolve
from trimcore.graph.tracer import Tracer


def trace(model: nn.Module, example_input: Tensor | tuple[Any, ...]) -> ChannelGraph:
    """Trace `model` and track its channels. Weights are neither changed nor copied, and may be on the meta device.

    `example_input` only gives shapes: a batch (N, C, H, W), or a tuple of inputs. The network is traced in evaluation
    mode, and also in training mode if some modules are used only in training; its mode is unchanged afterwards. Raises
    NotTrimmable if torch.fx cannot trace the model (data-dependent control flow, for example) or if shapes do not fit.
    """
    tracer = Tracer(model, capture(model), example_input)
    for graph in tracer.graphs:
        walk(tracer, graph)
        tracer.training_only = True
    return resolve(tracer)


def walk(tracer: Tracer, graph: fx.Graph) -> None:
    """Compute the value of every node of the graph. Raises NotTrimmable with the name of a node that fails."""
    inputs = iter(tracer.inputs)
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
    check_in_place(tracer, graph)


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
        return tracer.held[target(node)]
    args, kwargs = _values(tracer, node.args), _values(tracer, node.kwargs)
    if not leaves_of((args, kwargs), Channels):
        return _constant(tracer, node, args, kwargs)
    rule = rules.rule_for(tracer, node)
    extra = {"module": tracer.module(node)} if rule in rules.TAKES_MODULE else {}
    if rule is not None and ("out" in kwargs or not _accepts(rule, 2 + len(args), (*kwargs, *extra))):
        rule = None
    if rule not in rules.CHECKS_SIZES:
        tracer.freeze_counted(node, node.all_input_nodes)
    result = rule(tracer, node, *args, **kwargs, **extra) if rule else tracer.without_rule(node, args, kwargs)
    if isinstance(result, torch.Size):
        tracer.sizes.record_shape(node, args[0])
    elif rule is rules.size:
        tracer.sizes.record_length(node, *args, **kwargs)
    if is_in_place(tracer, node):
        _after_in_place(tracer, node)
    return result


def _after_in_place(tracer: Tracer, node: fx.Node) -> None:
    """Clear the zero flag of all aliases of a value that was changed in place."""
    for alias in aliases_of(tracer, operand(node)) - {node}:
        value = tracer.env.get(alias)
        if isinstance(value, Channels):
            tracer.env[alias] = with_zero_flag(value.ids, False)


def _constant(tracer: Tracer, node: fx.Node, args: Args, kwargs: Kwargs) -> Any:
    """The value of a node that depends on numbers and stored tensors alone. For tensors, only the shape is computed."""
    if not leaves_of((args, kwargs), Tensor) and node.op != "call_module":
        tracer.sizes.record_computed(node, len(args[0]) if args and isinstance(args[0], tuple) else 0)
        return execute(node, args, kwargs, tracer.modules)
    tracer.freeze_counted(node, node.all_input_nodes)
    result, macs = run_on_meta(node, args, kwargs, tracer.modules)
    if node.op == "call_module":
        tracer.add_fixed(node, macs, f"{node.name} does not depend on the input of the network")
    return result


@functools.cache
def _accepts(rule: rules.Rule, count: int, names: tuple[str, ...]) -> bool:
    """Whether a rule can be called with `count` positional arguments and these keyword arguments."""
    try:
        inspect.signature(rule).bind(*[None] * count, **dict.fromkeys(names))
    except TypeError:
        return False
    return True
