"""Record the operations of a network with `torch.fx`, and mark the in-place ones, which torch.fx does not record."""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partialmethod
from typing import Any

from torch import fx, nn

from trimcore.compute.modes import in_mode
from trimcore.errors import NotTrimmable, first_line
from trimcore.layers.maxout import Maxout


@dataclass(frozen=True)
class Captured:
    """The recorded graphs.

    The first graph is of evaluation mode. A second one, of training mode, is present if some modules are used only in
    training (auxiliary heads). `held` maps the target names in the graphs to modules and tensors. Nodes recorded from
    augmented assignments such as `+=` have `meta["in_place"]`.
    """

    graphs: list[fx.Graph]
    held: dict[str, Any]


def capture(model: nn.Module) -> Captured:
    """Record the model with torch.fx. The model is unchanged afterwards, even if its forward function modifies it.

    Raises NotTrimmable if torch.fx cannot trace the model.
    """
    with _restored(model):
        graphs = _graphs(model)
        names = {node.target for graph in graphs for node in graph.nodes if node.op in ("call_module", "get_attr")}
        recorded = {name: operator.attrgetter(name)(model) for name in names}
    held = {}
    for name, value in recorded.items():
        try:
            held[name] = operator.attrgetter(name)(model)
        except AttributeError:
            held[name] = value  # a constant that torch.fx added
    return Captured(graphs, held)


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Restore all module attributes afterwards: forward functions may store values, and torch.fx adds constants."""
    before = [(module, _snapshot(module)) for module in model.modules()]
    try:
        yield
    finally:
        for module, snapshot in before:
            for attributes, saved in zip(_attribute_dicts(module), snapshot, strict=True):
                if attributes.keys() != saved.keys() or any(attributes[key] is not saved[key] for key in saved):
                    attributes.clear()
                    attributes.update(saved)


def _attribute_dicts(module: nn.Module) -> list[dict[str, Any]]:
    candidates = [module.__dict__, module._parameters, module._buffers, module._modules]
    return [attributes for attributes in candidates if isinstance(attributes, dict)]  # not dicts in a scripted module


def _snapshot(module: nn.Module) -> list[dict[str, Any]]:
    return [dict(attributes) for attributes in _attribute_dicts(module)]


def _graphs(model: nn.Module) -> list[fx.Graph]:
    graph = _fx_graph(model, training=False)
    called = _called_modules(graph)
    with_parameters = {n for n, m in model.named_modules() if next(m.parameters(recurse=False), None) is not None}
    if with_parameters - called:  # not used in evaluation: check whether training uses them
        training = _fx_graph(model, training=True)
        if _called_modules(training) & (with_parameters - called):
            return [graph, training]
    return [graph]


def _called_modules(graph: fx.Graph) -> set[str]:
    return {node.target for node in graph.nodes if node.op == "call_module"}


def _fx_graph(model: nn.Module, training: bool) -> fx.Graph:
    try:
        with in_mode(model, training):
            return _FxTracer().trace(model)
    except Exception as error:  # user-defined forward functions may raise anything
        raise NotTrimmable(f"{type(model).__name__} cannot be traced by torch.fx: {first_line(error)}") from error


class _Proxy(fx.Proxy):
    """Marks in-place operations."""

    def _in_place(self, operation: Callable[[Any, Any], fx.Proxy], other: Any) -> fx.Proxy:
        result = operation(self, other)
        result.node.meta["in_place"] = True
        return result

    __iadd__ = partialmethod(_in_place, operator.add)
    __isub__ = partialmethod(_in_place, operator.sub)
    __imul__ = partialmethod(_in_place, operator.mul)
    __itruediv__ = partialmethod(_in_place, operator.truediv)


class _FxTracer(fx.Tracer):
    proxy_buffer_attributes = True  # otherwise values computed from a buffer would be recorded as constants

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, Maxout) or super().is_leaf_module(module, name)

    def call_module(
        self, module: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Record the call. Trace into a container created in the forward function, such as `self.features[:2]`."""
        try:
            self.path_of_module(module)
        except NameError:
            return forward(*args, **kwargs)
        return super().call_module(module, forward, args, kwargs)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)
