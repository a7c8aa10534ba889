"""Neurons that are a constant, not zero, where the next layer meets them: the constant is folded into its bias.

With the activation of a neuron held at zero, a depthwise convolution behind it gives its bias and BatchNorm its shift,
whatever the input (ShuffleNet has both before its next convolution). Removing the neuron takes that constant away from
everything that the next layer sums up, so its bias, or the mean of the BatchNorm behind it, takes it up.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from trimcore.graph.channel_graph import Fold, Part


def shift_of(fold: Fold, parts: dict[str, Part], gone: Tensor) -> Tensor | None:
    """What the outputs of the consumer lose with the groups of the mask `gone`, float64 (outputs,); None: nothing."""
    consumer = parts[fold.consumer]
    going = gone[consumer.inputs]
    if not going.any():
        return None
    weight = consumer.weight.detach().double()
    weight = weight.sum(list(range(2, weight.dim()))) if weight.dim() > 2 else weight  # over the kernel
    constant = torch.zeros(len(going), dtype=torch.float64, device=weight.device)
    for name in fold.chain:
        constant = _through(parts[name].module, constant)
    going = going.to(weight.device)
    return weight[:, going] @ constant[going]


def take_up(module: nn.Module, kept: Tensor, shift: Tensor) -> None:
    """Add `shift` (outputs of the whole network) to the bias of the smaller network's `module`, whose outputs are
    `kept`; or to what its running mean is taken from."""
    norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
    tensor = cast(Tensor, module.running_mean if norm else module.bias)
    shift = shift[kept.to(shift.device)].to(tensor.dtype)
    with torch.no_grad():
        tensor.add_(-shift if norm else shift)


def _through(module: nn.Module, constant: Tensor) -> Tensor:
    """A constant for each channel after a depthwise or grouped convolution (which is the first, and so meets zeros), or
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
