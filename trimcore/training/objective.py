"""What a training step minimises, for each kind of task."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.compute.device import autocast
from trimcore.compute.inputs import call, count
from trimcore.compute.outputs import scores_of
from trimcore.data import Data
from trimcore.errors import SpecError
from trimcore.spec import Training
from trimcore.tasks import Task
from trimcore.tasks.classification import Classification
from trimcore.training.losses import Loss, supervised_loss
from trimcore.training.mixing import mixer

AUXILIARY_WEIGHT = 0.3  # of the loss at auxiliary heads (Szegedy et al. 2015, section 5)

# Network and batch -> its mean loss, the number of right predictions (None if the task does not count them), and the
# number of examples
Objective = Callable[[nn.Module, Any], tuple[Tensor, Tensor | None, int]]


def objective_for(
    task: Task, settings: Training, data: Data, device: torch.device, loss_of: Loss | None = None
) -> Objective:
    """The objective of a task. `loss_of` replaces the loss of a classification."""
    if isinstance(task, Classification):
        return _classification(settings, data, device, loss_of)
    return _own(task, device)


def _classification(settings: Training, data: Data, device: torch.device, loss_of: Loss | None) -> Objective:
    labelled, mix = supervised_loss(settings, data, device), mixer(settings, data.num_classes)
    minimised = loss_of or labelled

    def objective(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor | None, int]:
        x, y = batch[0], batch[1].long()
        x, targets = mix(x, y) if mix else (x, y)
        with autocast(device):
            output = call(model, x)
        output, *auxiliary_outputs = output if isinstance(output, tuple) else (scores_of(output),)
        loss = minimised(x, output.float(), targets)
        for auxiliary in auxiliary_outputs:
            loss = loss + AUXILIARY_WEIGHT * labelled(x, auxiliary.float(), targets)
        most = targets if targets.dim() == 1 else targets.argmax(1)  # of mixed images, the larger share
        return loss, (output.detach().argmax(1) == most).sum(), len(y)

    return objective


def _own(task: Task, device: torch.device) -> Objective:
    def objective(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor | None, int]:
        with autocast(device):
            loss = task.loss(model, batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise SpecError(f"the loss of task {task.name!r} is {found}, not a scalar that depends on the weights")
        return loss.squeeze(), None, count(task.inputs(batch))

    return objective
