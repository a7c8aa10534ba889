"""Images without labels: the network that a run starts from is the teacher, and says their classes."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from trimcore.compute.layout import is_channels_last
from trimcore.compute.modes import in_mode
from trimcore.compute.outputs import scores_of
from trimcore.data.batches import Batches
from trimcore.data.dataset import Data
from trimcore.data.items import Items
from trimcore.data.splits import Folder, Resident
from trimcore.evaluation.accuracy import EVALUATION_BATCH


def labelled_by(teacher: nn.Module, data: Data, device: torch.device) -> Data:
    """The data with the classes that the teacher says, in evaluation mode. Images that cannot be read stay unlabelled,
    and are left out of every batch."""
    train, validation, test = (
        split if isinstance(split, Items) else _labelled(teacher, split, data, device)
        for split in (data.train, data.validation, data.test)
    )
    return replace(data, train=train, validation=validation, test=test)


def _labelled(teacher: nn.Module, split: Resident | Folder, data: Data, device: torch.device) -> Any:
    numbered, labels = replace(split, labels=torch.arange(len(split))), torch.zeros_like(split.labels)
    with in_mode(teacher, training=False), torch.inference_mode():
        for images, which in Batches(numbered, data, EVALUATION_BATCH, device, channels_last=is_channels_last(teacher)):
            labels[which.cpu()] = scores_of(teacher(images)).argmax(1).cpu()
    return replace(split, labels=labels)
