"""Fold constants into a bias, for removed neurons that the next layer sees as a nonzero constant.

With a neuron's activation held at zero, a depthwise convolution after it outputs its bias, and a BatchNorm its shift,
whatever the input. (ShuffleNet has both before its next convolution.) Removing the neuron removes this constant from
the sums of the next layer, so the layer's bias, or the running mean of the BatchNorm after it, absorbs the constant.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from trimcore.graph.channel_graph import Fold, Part


def shift_of(fold: Fold, parts: dict[str, Part], removed: Tensor) -> Tensor | None:
    """What the consumer's outputs lose with the groups of the mask `removed`, float64 (outputs,). None for nothing."""
    consumer = parts[fold.consumer]
    lost = removed[consumer.inputs]
    if not lost.any():
        return None
    weight = cast(Tensor, consumer.module.weight).detach().double()
    weight = weight.sum(list(range(2, weight.dim()))) if weight.dim() > 2 else weight  # over the kernel
    constant = torch.zeros(len(lost), dtype=torch.float64, device=weight.device)
    for name in fold.chain:
        constant = _apply(parts[name].module, constant)
    lost = lost.to(weight.device)
    return weight[:, lost] @ constant[lost]


def absorb(module: nn.Module, kept: Tensor, shift: Tensor) -> None:
    """Add `shift`, which has one value per output of the full network, to the bias of `module` in the smaller network,
    or subtract it from its running mean. `kept` are the remaining outputs."""
    norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
    tensor = cast(Tensor, module.running_mean if norm else module.bias)
    shift = shift[kept.to(shift.device)].to(tensor.dtype)
    with torch.no_grad():
        tensor.add_(-shift if norm else shift)


def _apply(module: nn.Module, constant: Tensor) -> Tensor:
    """The constant of each channel after a depthwise or grouped convolution (always first, so its input is zero) or
    after a BatchNorm."""
    if isinstance(module, _ConvNd):
        bias = module.bias
        outputs = torch.zeros(module.out_channels, dtype=constant.dtype, device=constant.device)
        return outputs if bias is None else outputs + bias.detach()
    norm: Any = module
    result: Tensor = (constant - norm.running_mean.double()) / (norm.running_var.double() + norm.eps).sqrt()
    if norm.affine:
        result = result * norm.weight.detach().double() + norm.bias.detach().double()
    return result
