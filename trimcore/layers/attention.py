"""`nn.MultiheadAttention` in single operations, and the class that it becomes when it loses heads.

PyTorch's own class checks that its heads add up to its width, so it cannot have fewer. `TrimmedAttention` has the same
parameters under the same names. It takes the number of its heads from them.
"""

import math
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TrimmedAttention(nn.MultiheadAttention):
    """Self-attention with fewer heads, or of a narrower stream, than `nn.MultiheadAttention` allows."""

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """As in `nn.MultiheadAttention`. Raises ValueError for what is not self-attention of a batch."""
        call = Call(*args, **kwargs)
        if not is_supported(self, call):
            raise ValueError("trimmed attention needs one batch as queries, keys and values, and no mask for each head")
        return attend(self, call)


class Call:
    """The arguments of a call of `nn.MultiheadAttention`."""

    def __init__(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ):  # fmt: skip
        self.query, self.key, self.value, self.is_causal = query, key, value, is_causal
        self.padding, self.mask = key_padding_mask, attn_mask
        self.need_weights, self.average = need_weights, average_attn_weights


def become_trimmed(module: nn.MultiheadAttention) -> None:
    """Let the module take the number of its heads from its weights. Changes the module."""
    module.__class__ = TrimmedAttention
    module._qkv_same_embed_dim = False  # PyTorch's fast paths would read the number of heads


def is_attention(module: nn.Module) -> TypeGuard[nn.MultiheadAttention]:
    """Whether the module is PyTorch's own attention, or trimmed. Subclasses may compute something else."""
    return type(module) in (nn.MultiheadAttention, TrimmedAttention)


def is_supported(module: nn.MultiheadAttention, call: Call) -> bool:
    """Whether the call is self-attention of a batch, without what is added to keys and values."""
    same = call.query is call.key is call.value and call.query.dim() == 3
    plain = module.in_proj_weight is not None and module.bias_k is None and not module.add_zero_attn
    return same and plain and (call.mask is None or call.mask.dim() == 2)


def attend(module: nn.MultiheadAttention, call: Call) -> tuple[Tensor, Tensor | None]:
    """The result and, if it is asked for, the weights of attention: (N, L, S), or (N, heads, L, S) if not averaged."""
    x = call.query if module.batch_first else call.query.transpose(0, 1)
    projected = F.linear(x, module.in_proj_weight, module.in_proj_bias)
    q, k, v = torch.unflatten(projected, -1, (3, -1, module.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
    mask = _mask(call, q)
    dropout = module.dropout if module.training else 0.0
    y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=call.is_causal and mask is None)
    y = F.linear(y.transpose(1, 2).flatten(2), module.out_proj.weight, module.out_proj.bias)
    weights = _weights(q, k, mask, call.average) if call.need_weights else None
    return (y if module.batch_first else y.transpose(0, 1)), weights


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, average: bool) -> Tensor:
    products = (q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)
    weights = (products if mask is None else products + mask).softmax(-1)
    return weights.mean(1) if average else weights


def _mask(call: Call, q: Tensor) -> Tensor | None:
    """What is added to the products of queries and keys. Boolean masks are true where nothing is read."""
    masks = [_additive(mask, q) for mask in (call.mask, None if call.padding is None else call.padding[:, None, None])
             if mask is not None]  # fmt: skip
    return None if not masks else sum(masks[1:], masks[0])


def _additive(mask: Tensor, q: Tensor) -> Tensor:
    if mask.dtype is not torch.bool:
        return mask.to(q)
    return torch.zeros_like(mask, dtype=q.dtype).masked_fill(mask, -math.inf)
