"""Train for one epoch, in ordinary PyTorch.

Data order, augmentation and dropout are derived from (seed, iteration, epoch), so an epoch that is repeated after an
interruption gives the same weights.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from trimcore.compute import distributed
from trimcore.compute.device import autocast, has_fast_bf16
from trimcore.compute.outputs import scores_of
from trimcore.compute.seeds import derive_seed
from trimcore.data import Data
from trimcore.data.batches import Batches
from trimcore.errors import TrimError
from trimcore.spec import Training
from trimcore.training.distillation import Loss, cross_entropy

WARM_UP = 0.1  # share of all steps in which the learning rate rises
AUXILIARY_WEIGHT = 0.3  # of the loss at auxiliary heads (Szegedy et al. 2015, section 5)


@dataclass(frozen=True)
class Batch:
    """Progress within an epoch: `step` of `steps` are done."""

    step: int
    steps: int


@dataclass(frozen=True)
class EpochResult:
    """One epoch of training. Loss and accuracy are means over its training examples, measured during training."""

    loss: float
    accuracy: float
    lr: float
    images_per_second: float
    seconds: float


def make_optimizer(model: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum. Biases and normalisation parameters (vectors) get no weight decay."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [g for g in groups if g["params"]], lr=settings.lr, momentum=settings.momentum,
        nesterov=settings.momentum > 0, fused=all(p.device.type in ("cpu", "cuda") for p in trainable),
    )  # fmt: skip


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over the first tenth, then cosine decay to zero. `step` starts at 0."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Data,
    settings: Training,
    device: torch.device,
    *,
    epoch: int,
    epochs: int,
    seed: int,
    loss_of: Loss = cross_entropy,
    before_step: Callable[[int, int], None] | None = None,
    after_step: Callable[[], None] | None = None,
) -> Iterator[Batch | EpochResult]:
    """Train epoch `epoch` (from 0) of `epochs`. Yields a Batch after each step and finally the EpochResult.

    `loss_of` is the loss to minimise, see `distillation`. `before_step(step, steps)` is called before each step, both
    counted over all `epochs`; `after_step()` is called after each weight update. Raises TrimError if the loss is no
    longer finite.
    """
    start = time.perf_counter()
    own = (f"process {distributed.rank()}",) if distributed.rank() else ()  # each process has its own dropout mask
    torch.manual_seed(derive_seed(seed, epoch, "dropout", *own))
    source = Batches(
        data.train, data, settings.batch_size, device, seed=derive_seed(seed, epoch, "order"), augment=settings.augment,
        channels_last=has_fast_bf16(device), shared=True,
    )  # fmt: skip
    steps = len(source)
    model.train()
    loss_sum, correct, seen = torch.zeros((), device=device), torch.zeros((), device=device), 0
    for step, (x, y) in enumerate(source):
        if len(y) == 1 and step and distributed.world() == 1:
            continue  # BatchNorm needs more than one value per channel, and a map may have a single position
        place = (epoch * steps + step, epochs * steps)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(*place, settings.lr)
        if before_step:
            before_step(*place)
        with autocast(device):
            output = model(x)
        output, *auxiliary_outputs = output if isinstance(output, tuple) else (scores_of(output),)
        loss = loss_of(x, output.float(), y)
        for auxiliary in auxiliary_outputs:
            loss = loss + AUXILIARY_WEIGHT * F.cross_entropy(auxiliary.float(), y)
        optimizer.zero_grad(set_to_none=True)
        distributed.weighted(loss, len(y)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if after_step:
            after_step()
        loss_sum += loss.detach() * len(y)
        correct += (output.detach().argmax(1) == y).sum()
        seen += len(y)
        yield Batch(step + 1, steps)
    distributed.broadcast_buffers(model)
    distributed.sum_(loss_sum, correct)
    (seen,) = distributed.totals([seen])
    seconds, loss_mean = time.perf_counter() - start, float(loss_sum) / seen
    if not math.isfinite(loss_mean):
        raise TrimError(f"training diverged in epoch {epoch + 1} (loss {loss_mean}); try a lower lr than {settings.lr}")
    yield EpochResult(loss_mean, float(correct) / seen, optimizer.param_groups[0]["lr"], seen / seconds, seconds)
