"""The optimizer of a training phase, and its learning rate."""

import math

import torch
from torch import nn

from trimcore.spec import Training

SECOND_MOMENT = 0.999  # AdamW's decay of squared gradients; `momentum` is its decay of gradients


def make_optimizer(model: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW (Loshchilov and Hutter 2019). Biases and normalisation parameters (vectors)
    get no weight decay."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups, fused = [g for g in groups if g["params"]], all(p.device.type in ("cpu", "cuda") for p in trainable)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr, betas=(settings.momentum, SECOND_MOMENT), fused=fused)
    return torch.optim.SGD(
        groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0, fused=fused
    )


def learning_rate(step: int, steps: int, settings: Training) -> float:
    """Linear warm-up over the first share `warmup` of the steps, then cosine decay to zero, or a constant rate. `step`
    starts at 0."""
    warm, peak = max(1, round(settings.warmup * steps)), settings.lr
    if step < warm:
        return peak * (step + 1) / warm
    if settings.schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
