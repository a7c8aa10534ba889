"""The devices that a spec asks for, and whether its batches can be split among them."""

import torch

from trimcore.compute import distributed
from trimcore.compute.device import resolve
from trimcore.compute.distributed import MIN_EXAMPLES
from trimcore.data.dataset import Data
from trimcore.errors import SpecError
from trimcore.spec import Spec


def devices_of(spec: Spec) -> list[str]:
    """The devices of this machine that a run uses, in order: one per process, or the CPU shared by all processes.

    Raises SpecError if they do not exist or a batch is too small to split.
    """
    count, device = spec.devices.count, resolve(spec.device)
    if count == 1:
        return [str(device)]
    _check_batches(spec, count)
    if device.type == "mps":
        raise SpecError(f"devices.count = {count}: mps is a single device; use cuda or cpu for several processes")
    if device.type == "cpu":
        return ["cpu"]
    if count > torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise SpecError(f"devices.count = {count}: this machine has {found} CUDA device{'s' if found != 1 else ''}")
    return [f"cuda:{number}" for number in range(count)]


def check_shares(spec: Spec, data: Data) -> None:
    """Raise SpecError if a process would get too few examples of a batch or a split."""
    count = distributed.world()
    if count == 1:
        return
    _check_batches(spec, count)
    sizes = {f"the {name} split": len(getattr(data, name)) for name in ("train", "validation", "test")}
    asked = {"profile.examples": spec.profile.examples, "profile.relevance_examples": spec.profile.relevance_examples}
    for name, size in (sizes | {key: size for key, size in asked.items() if size}).items():
        if size < (least := MIN_EXAMPLES * count):
            raise SpecError(f"{name}: {size} examples are too few for {count} processes; use at least {least}")


def _check_batches(spec: Spec, count: int) -> None:
    sizes = {"base": spec.base.batch_size, "convert": spec.convert.batch_size, "retrain": spec.retrain.batch_size}
    sizes |= {f"step {i}.retrain": spec.retrain_after(step).batch_size for i, step in enumerate(spec.step, 1)}
    for name, size in sizes.items():
        if size < (least := MIN_EXAMPLES * count):
            raise SpecError(f"{name}.batch_size = {size}: {count} devices split a batch and need {least}")
