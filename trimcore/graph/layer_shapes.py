"""The result of a layer for inputs on the meta device: a tensor of the right shape, computed by formula where that is
faster than running the layer."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from trimcore.graph.meta import run_module_on_meta
from trimcore.layers.places import INPUTS, OUTPUTS, channel_axis_of, is_placed

SAME_SHAPE = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.PReLU)
ACTIVATIONS = {  # PyTorch composes some of them of ten operations on the meta device, each of which takes a millisecond
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardtanh, nn.Hardswish,
    nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softsign,
}  # fmt: skip


def result_of(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The module's result for meta tensors `args` and `kwargs`. Its hooks are not called.

    Raises the error of the layer if the shapes do not fit.
    """
    if is_placed(module) and args and isinstance(args[0], Tensor):
        return _placed(module, args[0])
    if len(args) == 1 and not kwargs and isinstance(args[0], Tensor):
        (x,) = args
        if isinstance(module, _ConvNd) and x.dim() == 2 + len(module.kernel_size):
            return x.new_empty(conv_shape(module, x.shape))
        if isinstance(module, nn.Linear):
            if x.shape[-1] != module.in_features:
                raise RuntimeError(f"it expects {module.in_features} features, not {x.shape[-1]}")
            return x.new_empty((*x.shape[:-1], module.out_features))
        if isinstance(module, SAME_SHAPE) or type(module) in ACTIVATIONS:
            return x.new_empty(x.shape)
    if isinstance(module, nn.RNNBase) and args and isinstance(args[0], Tensor):
        return _recurrent(module, args[0])
    if next(module.parameters(), None) is None and next(module.buffers(), None) is None:
        return module.forward(*args, **kwargs)
    return run_module_on_meta(module, args, kwargs)


def _placed(module: nn.Module, x: Tensor) -> Tensor:
    """The result of a layer whose channels keep their places."""
    axis, inputs, outputs = channel_axis_of(module), module._buffers.get(INPUTS), module._buffers.get(OUTPUTS)
    if inputs is not None:
        x = x.new_empty(_with_length(x.shape, axis, len(inputs)))
    y: Tensor = result_of(_without_places(module), (x,), {})
    return y if outputs is None else y.new_empty(_with_length(y.shape, axis, len(outputs)))


def _without_places(module: nn.Module) -> nn.Module:
    """The layer alone. Its tensors are shared."""
    alone = copy.copy(module)
    alone._buffers = {name: value for name, value in module._buffers.items() if name not in (INPUTS, OUTPUTS)}
    return alone


def _with_length(shape: torch.Size, axis: int, length: int) -> torch.Size:
    lengths = list(shape)
    lengths[axis] = length
    return torch.Size(lengths)


def _recurrent(module: nn.RNNBase, x: Tensor) -> Any:
    """The results of a recurrent layer for an input (..., input_size): the output, and the last states."""
    if x.dim() not in (2, 3) or x.shape[-1] != module.input_size:
        raise RuntimeError(f"it expects (steps, {module.input_size}) with or without a batch, not {tuple(x.shape)}")
    directions, width = 1 + module.bidirectional, module.proj_size or module.hidden_size
    batch = [] if x.dim() == 2 else [x.shape[0 if module.batch_first else 1]]
    output = x.new_empty((*x.shape[:-1], directions * width))
    state = x.new_empty((directions * module.num_layers, *batch, width))
    if not isinstance(module, nn.LSTM):
        return output, state
    return output, (state, x.new_empty((*state.shape[:-1], module.hidden_size)))


def conv_shape(module: _ConvNd, shape: torch.Size) -> torch.Size:
    """The output shape of any convolution for an input of shape (N, C, ...), by PyTorch's formulas.

    Raises RuntimeError if the number of channels does not match or the output would be empty.
    """
    if shape[1] != module.in_channels:
        raise RuntimeError(f"it expects {module.in_channels} channels, not {shape[1]}")
    reach = [step * (size - 1) for step, size in zip(module.dilation, module.kernel_size, strict=True)]
    named = {"same": reach, "valid": [0] * len(reach)}
    padding = named[module.padding] if isinstance(module.padding, str) else [2 * pad for pad in module.padding]
    axes = zip(shape[2:], module.stride, padding, reach, module.output_padding, strict=True)
    if isinstance(module, _ConvTransposeNd):
        sides = [(size - 1) * stride - pad + reach + more + 1 for size, stride, pad, reach, more in axes]
    else:
        sides = [(size + pad - reach - 1) // stride + 1 for size, stride, pad, reach, _ in axes]
    if min(sides) < 1:
        raise RuntimeError(f"its output is empty for an input of spatial size {tuple(shape[2:])}")
    return torch.Size((shape[0], module.out_channels, *sides))
