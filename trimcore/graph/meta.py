"""Run operations on the meta device, to count their multiply-accumulates or to find the shape of a result."""

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


# Functions that are made of matrix products or convolutions.
MULTIPLY = frozenset((
    "matmul", "mm", "bmm", "baddbmm", "addmm", "addbmm", "mv", "dot", "inner", "outer", "tensordot", "einsum", "linear",
    "bilinear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "scaled_dot_product_attention", "multi_head_attention_forward", "lstm", "gru", "rnn_tanh", "rnn_relu",
))  # fmt: skip


def execute(node: fx.Node, args: Args, kwargs: Kwargs, modules: dict[str, nn.Module]) -> Any:
    """Execute the node with the given operands."""
    if node.op == "call_module":
        return modules[target(node)](*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], target(node))(*args[1:], **kwargs)
    return function(node)(*args, **kwargs)


def macs_of(node: fx.Node, args: Args, kwargs: Kwargs, modules: dict[str, nn.Module]) -> int:
    """The multiply-accumulates of a node for the whole batch. The node runs on the meta device.

    All floating-point tensors have the default dtype. MACs are counted where PyTorch has a formula: for matrix products
    and convolutions. Module hooks are not called.
    """
    if node.op != "call_module" and getattr(node.target, "__name__", node.target) not in MULTIPLY:
        return 0
    # In inference mode, composite operations would not be decomposed and therefore not be counted.
    with torch.inference_mode(False), torch.no_grad(), _FlopCounter() as counter:
        args, kwargs = fx.node.map_aggregate(args, _meta_operand), fx.node.map_aggregate(kwargs, _meta_operand)
        if node.op != "call_module":
            execute(node, args, kwargs, modules)
        else:
            run_module_on_meta(modules[target(node)], args, kwargs)
        return int(counter.flops) // 2


def run_module_on_meta(module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
    """The module's result for operands on the meta device. Its hooks are not called."""
    without = _WithoutHooks(module)
    state = {n: _to_meta(t) for n, t in (*without.named_parameters(), *without.named_buffers())}
    return torch.func.functional_call(without, state, args, kwargs)


def shapes_on_meta(value: Any) -> Any:
    """Replace every tensor in `value` by a meta tensor of its shape and dtype."""
    return fx.node.map_aggregate(
        value, lambda v: torch.empty(v.shape, dtype=v.dtype, device="meta") if isinstance(v, Tensor) else v
    )


def map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply `change` to every leaf of `value`. Named results, such as those of `torch.max`, keep their type."""
    result = fx.node.map_aggregate(value, change)
    named = isinstance(value, tuple) and not hasattr(value, "_fields") and type(value) is not tuple
    return type(value)(result) if named and not isinstance(value, torch.Size) else result


class _FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums the floating-point operations of everything executed inside it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Args = (), kwargs: Kwargs | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


class _WithoutHooks(nn.Module):
    """Calls a module's forward function without its hooks."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.forward(*args, **kwargs)


def _meta_operand(value: Any) -> Any:
    if isinstance(value, Channels):
        return _to_meta(torch.empty(value.shape, device="meta", dtype=value.dtype))
    return _to_meta(value) if isinstance(value, Tensor) else value


def _to_meta(tensor: Tensor) -> Tensor:
    return tensor.to("meta", torch.get_default_dtype() if tensor.is_floating_point() else None)
