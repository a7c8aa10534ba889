"""Record what a forward function does while it runs: each call of a torch function or of a known layer is one node.

Values are never computed. Every tensor is replaced by one of the same shape on the meta device, except constants that
the forward function makes itself and may want to read (`torch.arange(n)`). A function that reads other values raises
NeedsValues.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from trimcore.errors import NotTrimmable
from trimcore.graph.lengths import plain
from trimcore.graph.recorded_values import Values
from trimcore.graph.results import as_plain_containers, has_tensor
from trimcore.graph.torch_functions import DUNDERS, FACTS, MADE_WITHOUT_VALUES, READS, is_in_place_name, operator_of

SMALL = 1 << 16  # constants up to this many values are computed


class NeedsValues(Exception):
    """The forward function reads a value that only data decides."""


class Recorder(TorchFunctionMode):
    """Records calls into `values` while it is active."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.modules = {id(module): path for path, module in model.named_modules()}
        self.device = next((tensor.device for _, tensor in _stored(model)), torch.device("cpu"))
        floats = (tensor.dtype for _, tensor in _stored(model) if tensor.is_floating_point())
        self.dtype = next(floats, torch.get_default_dtype())  # all floating-point values get this type
        self.values = Values({id(tensor): path for path, tensor in _stored(model)}, self.device)
        self.optional: list[Tensor] = []  # results that modules give beside their main one
        self.failed_at = ""  # the module in which a value was read
        self._metas: dict[int, tuple[Tensor, Tensor]] = {}  # id of a real tensor -> it and what stands for it

    # ---- inputs, layers and results

    def add_input(self, name: str, value: Any) -> Any:
        """Record an input. Returns what the forward function gets: the same, with tensors on the meta device."""
        node, given = self.values.graph.placeholder(name), fx.node.map_aggregate(value, self._stand_in)
        self.values.register(given, node)
        return given

    def add_output(self, value: Any) -> None:
        """Record the result of the whole network. Raises NotTrimmable if it contains no tensor."""
        found: list[Tensor] = []
        value = as_plain_containers(value)
        fx.node.map_aggregate(value, lambda v: found.append(v) if isinstance(v, Tensor) else None)
        if not found:
            raise NotTrimmable("its forward function returns no tensor")
        self.values.graph.output(self.values.note(value))

    def drop_unused(self) -> None:
        """Drop the optional results that nothing reads, with the operations that only they need."""
        waiting = [self.values.node_of(result) for result in self.optional]
        while waiting:
            node = waiting.pop()
            if not node.users and node.op in ("call_function", "call_method"):
                operands = node.all_input_nodes
                self.values.graph.erase_node(node)
                waiting += operands

    def call_layer(self, path: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record the call of a module that is one operation to the rules. `result` has the right shapes."""
        node = self.values.graph.call_module(path, *self.values.noted(args, kwargs))
        self.values.finish(node, result)
        return result

    def stand_ins(self, value: Any) -> Any:
        """The value with numbers made plain and every tensor replaced by one on the meta device."""
        return fx.node.map_aggregate(value, self._operand)

    # ---- calls of torch functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.__name__
        attribute = name == "__get__"
        if attribute:
            name = func.__self__.__name__
        if name in FACTS or name == "__set__":
            return self._fact(name, func, args, kwargs)
        if name in ("shape", "size", "__len__", "numel", "nelement"):
            return self.values.length(name, args, kwargs)
        if name in READS:
            return self._read(name, func, args, kwargs)
        if name == "__iter__":
            return iter(args[0].unbind(0)) if args[0].dim() else func(*args)
        result = self._execute(name, func, args, kwargs)
        if not has_tensor(result) and name != "__setitem__":
            return result
        if attribute:
            node = self.values.graph.call_function(getattr, self.values.noted((args[0], name), {})[0])
        else:
            node = self._node(name, func, args, kwargs)
        self.values.finish(node, result)
        if is_in_place_name(name) and args and isinstance(args[0], Tensor):
            self.values.register(args[0], node)  # a stored tensor is not `result`, which stands for it
        return result

    def _node(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.Node:
        in_place = is_in_place_name(name)
        if getattr(torch.Tensor, name, None) is func or getattr(func, "__module__", "") == "torch._tensor":
            alone = not in_place or not self._has_aliases(args[0])
            function = operator_of(name) if len(args) <= 2 or name == "__setitem__" else None
            if function is not None and alone and not kwargs:
                reflected = name.startswith("__r") and name[3:-2] in (*DUNDERS, "div")
                noted, _ = self.values.noted(args[::-1] if reflected else args, {})
                return self.values.graph.call_function(function, noted)
            return self.values.graph.call_method(name, *self.values.noted(args, kwargs))
        return self.values.graph.call_function(func, *self.values.noted(args, kwargs))

    def _has_aliases(self, x: Tensor) -> bool:
        """Whether another recorded value shares memory with x."""
        base = x if x._base is None else x._base
        return any(isinstance(v, Tensor) and v is not x and (v is base or v._base is base) for v in self.values.all())

    def _execute(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors: list[Tensor] = []
        fx.node.map_aggregate((args, kwargs), lambda v: tensors.append(v) if isinstance(v, Tensor) else None)
        changes = is_in_place_name(name) or name == "__setitem__" or "out" in kwargs
        known = all(self._is_known(t) for t in tensors) and not changes
        if known and tensors and sum(t.numel() for t in tensors) > SMALL:
            known = False
        if not tensors:
            known = name not in MADE_WITHOUT_VALUES
            if not known:
                kwargs = kwargs | {"device": "meta"}
        if known:
            args, kwargs = fx.node.map_aggregate(args, plain), fx.node.map_aggregate(kwargs, plain)
        else:
            args, kwargs = fx.node.map_aggregate(args, self._operand), fx.node.map_aggregate(kwargs, self._operand)
            if name == "to":
                args = tuple("meta" if isinstance(a, str) else a for a in args)
            elif name in ("cpu", "cuda"):
                return args[0]
            if kwargs.get("device") is not None:
                kwargs = kwargs | {"device": "meta"}
        try:
            result = func(*args, **kwargs)
        except (NotImplementedError, RuntimeError) as error:
            told = str(error)
            if "meta tensor" not in told and "register_meta" not in told:
                raise
            self.failed_at = self.values.within[-1]
            raise NeedsValues(name) from error
        if known:
            fx.node.map_aggregate(result, lambda v: self.values.known.add(id(v)) if isinstance(v, Tensor) else None)
            return result
        if isinstance(result, Tensor):
            return self._in_dtype(result)
        return fx.node.map_aggregate(result, self._in_dtype) if type(result) in (tuple, list) else result

    def _in_dtype(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != self.dtype:
            return value.to(self.dtype)
        return value

    def _is_known(self, tensor: Tensor) -> bool:
        if tensor.is_meta or isinstance(tensor, nn.Parameter) or id(tensor) in self._metas:
            return False
        return id(tensor) in self.values.known or tensor not in self.values or id(tensor) in self.values.paths

    def _fact(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name == "device" and args[0].is_meta:
            return self.device
        return func(*args, **kwargs)

    def _read(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        if not all(self._is_known(t) for t in tensors):
            self.failed_at = self.values.within[-1]
            raise NeedsValues(name)
        return func(*args, **kwargs)

    def _operand(self, value: Any) -> Any:
        if isinstance(value, torch.device):
            return torch.device("meta")
        if not isinstance(value, Tensor):
            return plain(value)
        return value if not value.dim() and self._is_known(value) else self._stand_in(value)

    def _stand_in(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.is_meta and not (value.is_floating_point() and value.dtype != self.dtype):
            return value
        found = self._metas.get(id(value))
        if found is None:
            dtype = self.dtype if value.is_floating_point() else value.dtype
            found = self._metas[id(value)] = (value, torch.empty_like(value, dtype=dtype, device="meta"))
        return found[1]


def _stored(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


@contextmanager
def entered(recorder: Recorder, path: str) -> Iterator[None]:
    """Note that the calls inside the block belong to this module."""
    recorder.values.within.append(path)
    try:
        yield
    finally:
        recorder.values.within.pop()
