"""An exponential moving average of the weights, beside the network in training."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

WARM_UP = 10  # steps, in which the average follows faster: the first weights must not stay in it


def averaged(network: nn.Module, decay: float, saved: dict[str, Any] | None = None) -> AveragedModel:
    """The average of a network's weights, which `update_parameters` moves towards them by 1 - decay, but in the first
    steps t by at least 9 / (10 + t). Buffers are those of the network. `saved` is the `state_dict` of an earlier
    average to continue."""

    def move(average: Sequence[Tensor], current: Sequence[Tensor], seen: Tensor | int) -> None:
        step = int(seen)
        share = 1 - min(decay, (1 + step) / (WARM_UP + step))
        for mean, value in zip(average, current, strict=True):
            mean.lerp_(value, share)

    with torch.no_grad():
        model = AveragedModel(network, multi_avg_fn=move)
    if saved is not None:
        model.load_state_dict(saved)
    return model
