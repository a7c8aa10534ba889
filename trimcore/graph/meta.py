"""Carrying out an operation without memory: the shape of its result, and the multiply-accumulates it would take."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from trimcore.graph.channels import Channels
from trimcore.graph.nodes import function, target

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def execute(node: fx.Node, args: Args, kwargs: Kwargs, modules: dict[str, nn.Module]) -> Any:
    """What the node returns for real operands."""
    if node.op == "call_module":
        return modules[target(node)](*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], target(node))(*args[1:], **kwargs)
    return function(node)(*args, **kwargs)


def work_on_meta(node: fx.Node, args: Args, kwargs: Kwargs, modules: dict[str, nn.Module]) -> tuple[Any, int]:
    """What the node returns for tensors without memory, all of one dtype, and its multiply-accumulates for the whole
    batch, as far as PyTorch has a formula (matrix products and convolutions). No hook of a module is called."""
    # In inference mode composite operations would not be taken apart, and so not be counted.
    with torch.inference_mode(False), torch.no_grad(), _Work() as work:
        args, kwargs = fx.node.map_aggregate(args, _stand_in), fx.node.map_aggregate(kwargs, _stand_in)
        if node.op != "call_module":
            return execute(node, args, kwargs, modules), work.flops // 2
        module = _Forward(modules[target(node)])
        state = {n: _without_memory(t) for n, t in (*module.named_parameters(), *module.named_buffers())}
        return torch.func.functional_call(module, state, args, kwargs), work.flops // 2


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """`value` with `change` applied to everything in it; results with names (of `torch.max`, say) keep them."""
    result = fx.node.map_aggregate(value, change)
    named = isinstance(value, tuple) and not hasattr(value, "_fields") and type(value) is not tuple
    return type(value)(result) if named and not isinstance(value, torch.Size) else result


class _Work(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums up the floating point operations of what is carried out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Args = (), kwargs: Kwargs | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


class _Forward(nn.Module):
    """A module without its hooks."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.forward(*args, **kwargs)


def _stand_in(value: Any) -> Any:
    if isinstance(value, Channels):
        return _without_memory(torch.empty(value.shape, device="meta", dtype=value.dtype))
    return _without_memory(value) if isinstance(value, Tensor) else value


def _without_memory(tensor: Tensor) -> Tensor:
    return tensor.to("meta", torch.get_default_dtype() if tensor.is_floating_point() else None)
