"""Train for one epoch, in ordinary PyTorch.

Data order, augmentation and dropout are derived from (seed, iteration, epoch), so an epoch that is repeated after an
interruption gives the same weights.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trimcore.compute import distributed
from trimcore.compute.inputs import examples
from trimcore.compute.layout import is_channels_last
from trimcore.compute.seeds import derive_seed
from trimcore.data import Data
from trimcore.data.batches import Batches
from trimcore.errors import TrimError
from trimcore.spec import Training
from trimcore.tasks import Task
from trimcore.tasks.classification import Classification
from trimcore.training.losses import Loss
from trimcore.training.objective import objective_for
from trimcore.training.optimizer import learning_rate


@dataclass(frozen=True)
class Batch:
    """Progress within an epoch: `step` of `steps` are done."""

    step: int
    steps: int


@dataclass(frozen=True)
class EpochResult:
    """One epoch of training. Loss and accuracy are means over its training examples, measured during training. Only a
    classification has an accuracy."""

    loss: float
    accuracy: float | None
    lr: float
    images_per_second: float
    seconds: float


class _Update:
    """Adds up the gradients of `settings.accumulate` batches, then updates the weights."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, settings: Training, after: Callable[[], None] | None
    ):
        self.model, self.optimizer, self.settings, self.after, self.added = model, optimizer, settings, after, 0

    def add(self, loss: Tensor, last: bool) -> None:
        if not self.added:
            self.optimizer.zero_grad(set_to_none=True)
        (loss / self.settings.accumulate).backward()  # type: ignore[no-untyped-call]
        self.added += 1
        if last or self.added == self.settings.accumulate:
            self.finish()

    def finish(self) -> None:
        """Update the weights with the gradients so far, if there are any."""
        if not self.added:
            return
        if self.added < self.settings.accumulate:  # the mean over the batches that there are
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(self.settings.accumulate / self.added)
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimizer.step()
        self.added = 0
        if self.after:
            self.after()


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
    task: Task | None = None,
    loss_of: Loss | None = None,
    before_step: Callable[[int, int], None] | None = None,
    after_step: Callable[[], None] | None = None,
) -> Iterator[Batch | EpochResult]:
    """Train epoch `epoch` (from 0) of `epochs`. Yields a Batch after each step and finally the EpochResult.

    `task` defaults to classification, whose loss `loss_of` replaces. `before_step(step, steps)` is called before each
    batch, both counted over all `epochs`; `after_step()` is called after each weight update. Raises TrimError if the
    loss is no longer finite.
    """
    start = time.perf_counter()
    own = (f"process {distributed.rank()}",) if distributed.rank() else ()  # each process has its own dropout mask
    torch.manual_seed(derive_seed(seed, epoch, "dropout", *own))
    source = Batches(
        data.train, data, settings.batch_size, device, seed=derive_seed(seed, epoch, "order"), augment=settings.augment,
        channels_last=is_channels_last(model), shared=True,
    )  # fmt: skip
    steps = len(source)
    objective = objective_for(task or Classification(), settings, data, device, loss_of)
    update = _Update(model, optimizer, settings, after_step)
    model.train()
    loss_sum, correct, seen = torch.zeros((), device=device), torch.zeros((), device=device), 0
    counted, several = True, False  # whether any batch had several examples: the last may be a lone remainder
    for step, batch in enumerate(source):
        single = examples(batch) == 1
        if single and several and distributed.world() == 1:
            continue  # BatchNorm needs more than one value per channel, and a map may have a single position
        several = several or not single
        place = (epoch * steps + step, epochs * steps)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(*place, settings)
        if before_step:
            before_step(*place)
        loss, right, size = objective(model, batch)
        update.add(distributed.weighted(loss, size), last=step + 1 == steps)
        loss_sum += loss.detach() * size
        seen += size
        if right is None:
            counted = False
        else:
            correct += right
        yield Batch(step + 1, steps)
    update.finish()
    distributed.broadcast_buffers(model)
    distributed.sum_(loss_sum, correct)
    (seen,) = distributed.totals([seen])
    seconds, loss_mean = time.perf_counter() - start, float(loss_sum) / seen
    if not math.isfinite(loss_mean):
        raise TrimError(f"training diverged in epoch {epoch + 1} (loss {loss_mean}); try a lower lr than {settings.lr}")
    accuracy = float(correct) / seen if counted else None
    yield EpochResult(loss_mean, accuracy, optimizer.param_groups[0]["lr"], seen / seconds, seconds)
