"""Norms over all channels, from whose mean and variance some channels are left out."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def without_channels(norm: nn.Module, x: Tensor, gone: Tensor, axis: int) -> Tensor:
    """What a LayerNorm, an RMSNorm or a GroupNorm of one group computes of x without the channels of the mask `gone`,
    which are zero in the result. `axis`: the channels of x."""
    stays = (~gone).nonzero().flatten().to(x.device)
    weight, bias = (None if t is None else t[stays] for t in (_tensor(norm, "weight"), _tensor(norm, "bias")))
    y = _normalised(norm, x.index_select(axis, stays), weight, bias)
    return torch.zeros_like(x).index_copy(axis, stays, y.to(x.dtype))


def _normalised(norm: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if isinstance(norm, nn.GroupNorm):
        return F.group_norm(x, 1, weight, bias, norm.eps)
    if isinstance(norm, nn.RMSNorm):
        return F.rms_norm(x, x.shape[-1:], weight, norm.eps)
    return F.layer_norm(x, x.shape[-1:], weight, bias, norm.eps)


def _tensor(module: nn.Module, name: str) -> Tensor | None:
    tensor: Tensor | None = getattr(module, name, None)
    return tensor
