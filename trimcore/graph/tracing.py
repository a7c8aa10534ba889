"""From a network to its channel graph: `torch.fx` records the operations, `rules` follow every channel through them."""

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from trimcore.errors import NotTrimmable, first_line
from trimcore.graph import rules
from trimcore.graph.aliases import check_in_place, is_in_place, names_of
from trimcore.graph.capture import capture
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.channels import Channels, Value, found_in, with_zero
from trimcore.graph.meta import Args, Kwargs, execute, work_on_meta
from trimcore.graph.nodes import operand, target
from trimcore.graph.resolution import resolve
from trimcore.graph.tracer import Tracer


def trace(model: nn.Module, example_input: Tensor | tuple[Any, ...]) -> ChannelGraph:
    """Trace `model` and follow its channels. No weight is touched or copied; the model may live on the meta device.

    `example_input` gives shapes only: a batch (N, C, H, W), or a tuple of inputs. The network is traced in evaluation
    mode (and in training mode too where modules take part in training only) and left in the mode it was in. Raises
    NotTrimmable when torch.fx cannot trace it (control flow that depends on data, say) or when shapes do not fit.
    """
    tracer = Tracer(model, capture(model), example_input)
    for graph in tracer.graphs:
        walk(tracer, graph)
        tracer.training_only = True
    return resolve(tracer)


def walk(tracer: Tracer, graph: fx.Graph) -> None:
    """Give every node of the graph its value. Raises NotTrimmable, naming the node that fails."""
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
    def followed(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        dtype = torch.float32 if value.is_floating_point() else value.dtype
        return tracer.frozen_value(value.shape, "it is an input of the network", dtype)

    value: Any = next(inputs, node.args[0] if node.args else None)
    return fx.node.map_aggregate(value, followed)


def _output(tracer: Tracer, node: fx.Node) -> None:
    results = _values(tracer, node.args)
    tracer.freeze(results, "it is an output of the network")
    if not tracer.training_only:
        tracer.outputs = [result.shape for result in found_in(results, Channels)]


def _values(tracer: Tracer, operands: Any) -> Any:
    """The same with the value of each node in its place."""
    return fx.node.map_arg(operands, tracer.env.__getitem__)


def _call(tracer: Tracer, node: fx.Node) -> Value:
    if node.op == "get_attr":
        return tracer.held[target(node)]
    args, kwargs = _values(tracer, node.args), _values(tracer, node.kwargs)
    if not found_in((args, kwargs), Channels):
        return _constant(tracer, node, args, kwargs)
    rule = rules.rule_for(tracer, node)
    given = {"module": tracer.module(node)} if rule in rules.WITH_MODULE else {}
    if rule is not None and ("out" in kwargs or not _fits(rule, 2 + len(args), (*kwargs, *given))):
        rule = None
    if rule not in rules.SHAPED:
        tracer.freeze_counted(node, node.all_input_nodes)
    result = rule(tracer, node, *args, **kwargs, **given) if rule else tracer.unknown(node, args, kwargs)
    if isinstance(result, torch.Size):
        tracer.sizes.note_shape(node, args[0])
    elif rule is rules.size:
        tracer.sizes.note_length(node, *args, **kwargs)
    if is_in_place(tracer, node):
        _after_in_place(tracer, node)
    return result


def _after_in_place(tracer: Tracer, node: fx.Node) -> None:
    """Other names of what has been changed: nothing is known any more of where they are zero."""
    for name in names_of(tracer, operand(node)) - {node}:
        value = tracer.env.get(name)
        if isinstance(value, Channels):
            tracer.env[name] = with_zero(value.ids, False)


def _constant(tracer: Tracer, node: fx.Node, args: Args, kwargs: Kwargs) -> Any:
    """What is computed of numbers and stored tensors alone. Of tensors only the shape is found."""
    if not found_in((args, kwargs), Tensor) and node.op != "call_module":
        tracer.sizes.note_computed(node, len(args[0]) if args and isinstance(args[0], tuple) else 0)
        return execute(node, args, kwargs, tracer.modules)
    tracer.freeze_counted(node, node.all_input_nodes)
    result, macs = work_on_meta(node, args, kwargs, tracer.modules)
    if node.op == "call_module":
        tracer.fix(node, macs, f"{node.name} is given nothing that depends on the input")
    return result


@functools.cache
def _fits(rule: rules.Rule, count: int, names: tuple[str, ...]) -> bool:
    """Whether a rule can be called with so many operands by place, and these by name."""
    try:
        inspect.signature(rule).bind(*[None] * count, **dict.fromkeys(names))
    except TypeError:
        return False
    return True
