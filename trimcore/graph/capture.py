"""The operations of a network, as `torch.fx` records them; with what it leaves out: which ones work in place."""

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
    """The graph in evaluation mode, and the one in training mode if some modules take part in training only (auxiliary
    heads). `held` has the modules and tensors that they name. Nodes made by `+=` and the like have `meta["in_place"]`.
    """

    graphs: list[fx.Graph]
    held: dict[str, Any]


def capture(model: nn.Module) -> Captured:
    """What torch.fx records of the model, which is left as it was, whatever its forward function does to it.

    Raises NotTrimmable when torch.fx cannot trace it.
    """
    with _as_it_was(model):
        graphs = _graphs(model)
        names = {node.target for graph in graphs for node in graph.nodes if node.op in ("call_module", "get_attr")}
        recorded = {name: operator.attrgetter(name)(model) for name in names}
    held = {}
    for name, value in recorded.items():
        try:
            held[name] = operator.attrgetter(name)(model)
        except AttributeError:
            held[name] = value  # a constant that torch.fx has put there
    return Captured(graphs, held)


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Undo what forward functions leave on their modules: values that they keep, and constants that torch.fx adds."""
    before = [(module, _contents(module)) for module in model.modules()]
    try:
        yield
    finally:
        for module, contents in before:
            for place, content in zip(_places(module), contents, strict=True):
                if place.keys() != content.keys() or any(place[key] is not content[key] for key in content):
                    place.clear()
                    place.update(content)


def _places(module: nn.Module) -> list[dict[str, Any]]:
    places = [module.__dict__, module._parameters, module._buffers, module._modules]
    return [place for place in places if isinstance(place, dict)]  # a scripted module has others


def _contents(module: nn.Module) -> list[dict[str, Any]]:
    return [dict(place) for place in _places(module)]


def _graphs(model: nn.Module) -> list[fx.Graph]:
    graph = _fx_graph(model, training=False)
    reached = _called_modules(graph)
    weighted = {name for name, m in model.named_modules() if next(m.parameters(recurse=False), None) is not None}
    if weighted - reached:  # parameters without a part in evaluation: do they have one in training?
        training = _fx_graph(model, training=True)
        if _called_modules(training) & (weighted - reached):
            return [graph, training]
    return [graph]


def _called_modules(graph: fx.Graph) -> set[str]:
    return {node.target for node in graph.nodes if node.op == "call_module"}


def _fx_graph(model: nn.Module, training: bool) -> fx.Graph:
    try:
        with in_mode(model, training):
            return _FxTracer().trace(model)
    except Exception as error:  # the forward function is the user's, and may raise anything
        raise NotTrimmable(f"{type(model).__name__} cannot be traced by torch.fx: {first_line(error)}") from error


class _Proxy(fx.Proxy):
    """Notes which operations are in place."""

    def _in_place(self, operation: Callable[[Any, Any], fx.Proxy], other: Any) -> fx.Proxy:
        result = operation(self, other)
        result.node.meta["in_place"] = True
        return result

    __iadd__ = partialmethod(_in_place, operator.add)
    __isub__ = partialmethod(_in_place, operator.sub)
    __imul__ = partialmethod(_in_place, operator.mul)
    __itruediv__ = partialmethod(_in_place, operator.truediv)


class _FxTracer(fx.Tracer):
    proxy_buffer_attributes = True  # else what is computed of a buffer would be taken for a constant

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, Maxout) or super().is_leaf_module(module, name)

    def call_module(
        self, module: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """As it is; a container made on the way (`self.features[:2]`) is looked into."""
        try:
            self.path_of_module(module)
        except NameError:
            return forward(*args, **kwargs)
        return super().call_module(module, forward, args, kwargs)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)
