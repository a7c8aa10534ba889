"""The values of a recording and the nodes that compute them."""

import operator
from typing import Any

import torch
from torch import Tensor, fx

from trimcore.errors import NotTrimmable
from trimcore.graph.lengths import Length, Ratio, plain, traced
from trimcore.graph.results import shapes_of


class Values:
    """Knows the node of every tensor and number that a forward function has seen.

    `held` has the modules and tensors that the nodes of `graph` name. `paths` maps the ids of stored tensors to their
    names. `within` has the modules that are running, the innermost last. `known` has the ids of constants whose values
    are known, and `lost` the numbers that were converted to plain ones.
    """

    def __init__(self, paths: dict[int, str], device: torch.device):
        self.graph, self.held = fx.Graph(), dict[str, Any]()
        self.paths, self.device = paths, device
        self.within: list[str] = [""]
        self.lost: list[Length | Ratio] = []
        self.known: set[int] = set()
        self._nodes: dict[int, tuple[Any, Any]] = {}  # id -> the value, kept alive, and its node or (node, index)
        self._constants = 0

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._nodes

    def all(self) -> list[Any]:
        return [value for value, _ in self._nodes.values()]

    def finish(self, node: fx.Node, result: Any) -> None:
        node.meta["within"] = self.within[-1]
        node.meta["shape"], node.meta["value"] = shapes_of(result), result
        self.register(result, node)

    def register(self, value: Any, source: Any) -> None:
        if isinstance(value, Tensor):
            self._nodes[id(value)] = (value, source)
        elif isinstance(value, tuple | list):
            for index, item in enumerate(value):
                self.register(item, (source, index))
        elif isinstance(value, dict):
            for key, item in value.items():
                self.register(item, (source, key))

    def _resolve(self, source: Any) -> fx.Node:
        """The node of a value; for one of several results, the node that takes it out is recorded now."""
        if isinstance(source, fx.Node):
            return source
        parent, index = source
        return self.graph.call_function(operator.getitem, (self._resolve(parent), index))

    def node_of(self, tensor: Tensor) -> fx.Node:
        found = self._nodes.get(id(tensor))
        if found is not None:
            if not isinstance(found[1], fx.Node):
                found = (tensor, self._resolve(found[1]))
                found[1].meta.update({"within": self.within[-1], "shape": tensor.shape, "value": tensor})
                self._nodes[id(tensor)] = found
            return found[1]
        path = self.paths.get(id(tensor))
        if path is None:
            if tensor.is_meta and self.device.type != "meta":
                raise NotTrimmable(
                    "its forward function uses an operation that PyTorch does not report: a scripted function, an "
                    "autograd.Function or another library"
                )
            path, self._constants = f"_constant{self._constants}", self._constants + 1
            if not tensor.is_meta:
                self.known.add(id(tensor))
        self.held[path] = tensor
        node = self.graph.get_attr(path)
        self._nodes[id(tensor)] = (tensor, node)
        return node

    def note(self, value: Any) -> Any:
        """The value with tensors and numbers replaced by their nodes."""
        if type(value) is torch.Size and (found := self._nodes.get(id(value))):
            return found[1].node(self)
        return fx.node.map_aggregate(value, self._leaf)

    def _leaf(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.node_of(value)
        if isinstance(value, Length | Ratio):
            if value.node is None:
                operands = tuple(v.node(self) if isinstance(v, _Shape) else self._leaf(v) for v in value.operands)
                if value.function is _attribute:
                    (path,) = value.operands
                    self.held[path] = plain(value)
                    value.node = self.graph.get_attr(path)
                elif value.function is _size:
                    value.node = self.graph.call_method("size", operands)
                elif value.function is _count:
                    value.node = self.graph.call_method("numel", operands)
                else:
                    value.node = self.graph.call_function(value.function, operands)
            return value.node
        return value

    def noted(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(self.note(a) for a in args), {name: self.note(a) for name, a in kwargs.items()}

    def width(self, path: str, value: int) -> Length:
        """A width attribute, as a number that remembers its path."""
        number: Length = traced(value, _attribute, (path,), self.lost)
        return number

    def note_lost(self) -> None:
        """Record the numbers that were converted to plain ones, so that what they count is known."""
        for number in list(self.lost):
            self._leaf(number)

    def length(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x, *rest = args
        rest = [plain(r) for r in (*rest, *kwargs.values()) if r is not None]
        if x.is_nested or name in ("numel", "nelement"):
            return traced(x.numel(), _count, (x,), self.lost)
        if name == "__len__":
            return traced(len(x), operator.getitem, (_Shape(x), 0), self.lost)
        if rest:
            return traced(x.size(*rest), _size, (x, *rest), self.lost)
        whole = _Shape(x)
        lengths = [traced(n, operator.getitem, (whole, axis), self.lost) for axis, n in enumerate(x.shape)]
        shape = torch.Size(lengths)
        self._nodes[id(shape)] = (shape, whole)
        return shape


class _Shape:
    """The whole shape of a tensor. Its node is recorded when it is needed."""

    def __init__(self, x: Tensor):
        self._x = x
        self._nodes: list[fx.Node] = []

    def node(self, values: Values) -> fx.Node:
        if not self._nodes:
            self._nodes.append(values.graph.call_function(getattr, (values.node_of(self._x), "shape")))
        return self._nodes[0]


def _size(x: Tensor, dim: int) -> int:
    return x.size(dim)


def _attribute(path: str) -> int:
    raise AssertionError(path)  # only names what a number is


def _count(x: Tensor) -> int:
    return x.numel()
