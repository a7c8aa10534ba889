"""Run by each torchrun process in test_distributed.py, which compares the results with a single process.

torchrun ... in_processes.py OUT RUN_A RUN_B
"""

import sys
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch

from trimcore import models, runs
from trimcore.compute import distributed, torchrun
from trimcore.data import Data
from trimcore.data.batches import Batches
from trimcore.data.splits import Resident
from trimcore.errors import TrimError
from trimcore.evaluation.accuracy import evaluate
from trimcore.jobs import worker
from trimcore.scoring import relevance
from trimcore.scoring.apoz import profile
from trimcore.spec import Training
from trimcore.training.epoch import train_epoch
from trimcore.training.optimizer import make_optimizer

CPU = torch.device("cpu")
SETTINGS = Training(epochs=2, batch_size=32, lr=0.05)


@contextmanager
def in_float32():
    """bfloat16 rounds each gradient to 8 bits, which would hide a wrong factor."""
    with mock.patch("trimcore.compute.device.has_fast_bf16", return_value=False):
        yield


def pictures(count: int, first: int = 0) -> Resident:
    generator = torch.Generator().manual_seed(first)
    pixels = torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return Resident(pixels, torch.arange(count) % 10, 28, 1)


def data() -> Data:
    """101 examples make batches of 32, 32, 32 and 5. Two processes get 3 and 2 examples of the last batch."""
    names = tuple("0123456789")
    return Data("noise", names, pictures(101), pictures(67, 1), pictures(55, 2), (0.5,), (0.29,), 1, 28)


def measured() -> dict:
    """Everything that is summed over processes, for one network before and after two epochs of training."""
    torch.manual_seed(0)
    network, source = models.build("lenet5", num_classes=10), data()
    found = profile(network, shared(source.validation), mean_activation=True, taylor=True)
    smooth = [torch.nn.Conv2d(1, 6, 5), torch.nn.GELU(), torch.nn.Flatten(), torch.nn.Linear(3456, 10)]
    near = profile(torch.nn.Sequential(*smooth), shared(source.validation), tolerance=0.2)
    units = relevance.relevance(models.build("lenet5-maxout", num_classes=10, k=4), shared(source.train))
    before = evaluate(network, source.validation, source, CPU)
    optimizer, results = make_optimizer(network, SETTINGS), []
    with distributed.data_parallel(network, CPU) as parallel:
        for epoch in range(2):
            training = train_epoch(parallel, optimizer, source, SETTINGS, CPU, epoch=epoch, epochs=2, seed=5)
            *batches, last = training
            results.append((len(batches), last.loss, last.accuracy))
    distributed.check_in_sync(network)
    return {
        "zeros": [layer.zeros for layer in found.layers.values()], "examples": [found.examples, near.examples],
        "totals": [layer.totals for layer in found.layers.values()],
        "near": [layer.zeros for layer in near.layers.values()],
        "means": [layer.mean_activation for layer in found.layers.values()],
        "taylor": [layer.taylor for layer in found.layers.values()],
        "relevance": [(unit.counts, unit.examples, unit.positions) for unit in units.values()],
        "correct": before.by_class, "per class": before.class_examples, "loss": before.loss,
        "epochs": results, "weights": [p.detach().clone() for p in network.parameters()],
    }  # fmt: skip


def shared(split: Resident) -> Batches:
    return Batches(split, data(), 20, CPU, shared=True)


def small_things() -> dict:
    """Numbers that differ between processes, and weights that must not."""
    rank = distributed.rank()
    tensor = torch.tensor([rank + 1, 10])
    distributed.sum_(tensor)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Dropout(0.5))
    classifier = torch.nn.Sequential(*network, torch.nn.Flatten(), torch.nn.Linear(1352, 10))
    optimizer = make_optimizer(classifier, SETTINGS)
    with distributed.data_parallel(classifier, CPU) as parallel:
        list(train_epoch(parallel, optimizer, data(), SETTINGS, CPU, epoch=0, epochs=1, seed=rank))
    distributed.check_in_sync(classifier)  # the buffers too
    norm = type(classifier[1])
    with torch.no_grad():
        classifier[-1].bias[3] += rank * 1e-6
    try:
        distributed.check_in_sync(classifier)
        message = ""
    except TrimError as error:
        message = str(error)
    return {
        "sum": tensor.tolist(), "ints": distributed.totals([rank, 7]), "first": distributed.broadcast(rank + 40),
        "all": distributed.gather(f"process {rank}"), "diverged": message, "norm": norm.__name__,
        "local batchnorm": distributed.has_local_batchnorm(classifier, CPU),
    }  # fmt: skip


def carried_out(whole: Path, stopped: Path) -> dict:
    """Finish one run. Stop another at the first process's seventh progress event, then resume it."""
    seen = []

    def watch(event) -> None:
        seen.append(event.kind)
        if seen.count("progress") == 7:
            runs.request(stopped, "stop")

    outcomes = [worker.carry_out(whole), worker.carry_out(stopped, watch)]
    distributed.broadcast(0)  # a barrier: all processes have read the request
    if distributed.is_first():
        (stopped / "request.json").unlink()
    distributed.broadcast(0)
    outcomes.append(worker.carry_out(stopped))
    return {"outcomes": outcomes, "shown": len(seen)}


def main(out: Path, whole: Path, stopped: Path) -> None:
    with distributed.process_group():
        assert torchrun.started()
        assert distributed.world() == 2
        with in_float32():
            found = measured()
        torch.save({**found, **small_things(), **carried_out(whole, stopped)}, out / f"{distributed.rank()}.pt")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
