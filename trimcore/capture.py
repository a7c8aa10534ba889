"""The operations of a network, as `torch.fx` records them; with what it leaves out: which ones work in place."""

import operator
from functools import partialmethod

from torch import fx, nn

from trimcore.errors import NotTrimmable, first_line
from trimcore.modes import in_mode


def capture(model: nn.Module) -> fx.Graph:
    """The graph in evaluation mode; the model is left in the mode it was in. Nodes made by `+=` and the like have
    `meta["in_place"]`.

    Raises NotTrimmable when torch.fx cannot trace the model, and for modules that only take part in training.
    """
    graph = _fx_graph(model, training=False)
    reached = _called_modules(graph)
    weighted = {name for name, m in model.named_modules() if next(m.parameters(recurse=False), None) is not None}
    if weighted - reached:  # parameters without a part in evaluation: do they have one in training?
        only_training = _called_modules(_fx_graph(model, training=True)) & (weighted - reached)
        if only_training:
            raise NotTrimmable(f"{sorted(only_training)[0]} takes part in training only; trim the network without it")
    return graph


def _called_modules(graph: fx.Graph) -> set[str]:
    return {node.target for node in graph.nodes if node.op == "call_module"}


def _fx_graph(model: nn.Module, training: bool) -> fx.Graph:
    try:
        with in_mode(model, training):
            return _FxTracer().trace(model)
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError, IndexError, KeyError, AssertionError) as error:
        raise NotTrimmable(f"{type(model).__name__} cannot be traced by torch.fx: {first_line(error)}") from error


class _Proxy(fx.Proxy):
    """Notes which operations are in place."""

    def _in_place(self, operation, other):
        result = operation(self, other)
        result.node.meta["in_place"] = True
        return result

    __iadd__ = partialmethod(_in_place, operator.add)
    __isub__ = partialmethod(_in_place, operator.sub)
    __imul__ = partialmethod(_in_place, operator.mul)
    __itruediv__ = partialmethod(_in_place, operator.truediv)


class _FxTracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)
