"""What trimming VGG-16 on ImageNet would take on 1, 8 and 64 devices: arithmetic on one measured figure.

    python -m tests.benchmarks.scaling [--images-per-second 2500] [--epochs 5] [--batch 32]

Measured is the rate of one device, in training and in evaluation, on CUDA where there is some, else on this CPU. All
else follows from it: devices are taken to compute independently, and to exchange gradients by ring all-reduce, in
float32, either wholly hidden behind the backward pass or not at all; the truth lies between. That reading and decoding
keep up is assumed, and that a cut makes nothing faster.
"""

import argparse
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from trimcore import models
from trimcore.compute.layout import place
from trimcore.data import Data
from trimcore.data.splits import Resident
from trimcore.evaluation.accuracy import evaluate
from trimcore.spec import Training
from trimcore.training.epoch import train_epoch
from trimcore.training.optimizer import make_optimizer

DEVICES = (1, 8, 64)
LINKS = {"NVLink, 450 GB/s": 450e9, "PCIe, 25 GB/s": 25e9, "100 Gbit/s": 12.5e9, "10 Gbit/s": 1.25e9}  # bytes a second
FORWARD = 3  # an evaluation pass costs a third of a training pass, where only that was measured
COUNT_BYTES = 8 + 8  # of each neuron: an int64 count and a float64 sum


@dataclass(frozen=True)
class Work:
    """A network, its data, and the procedure of the paper: profile, cut, retrain, measure, `iterations` times."""

    train_images: int = 1_281_167  # ImageNet
    validation_images: int = 50_000
    parameters: int = 138_357_544  # VGG-16
    neurons: int = 12_416
    iterations: int = 6  # rows of the paper's table
    epochs: int = 5  # of retraining in each


@dataclass(frozen=True)
class Rates:
    """Images a second of one device."""

    training: float
    evaluation: float


def ring_bytes(payload: float, devices: int) -> float:
    """What each device sends, and receives, so that all have the sum of `payload` bytes: 2 (N - 1) / N of it."""
    return 2 * (devices - 1) / devices * payload


def steps(images: int, batch: int, devices: int) -> int:
    """Steps of an epoch when each device takes `batch` images a step."""
    return math.ceil(images / (batch * devices))


def epoch_seconds(work: Work, rates: Rates, devices: int) -> float:
    """One epoch of training, without the exchange."""
    return work.train_images / (rates.training * devices)


def exchange_seconds(work: Work, batch: int, devices: int, bytes_a_second: float) -> float:
    """The exchange of gradients in one epoch."""
    return steps(work.train_images, batch, devices) * ring_bytes(4 * work.parameters, devices) / bytes_a_second


def passes(work: Work) -> int:
    """Over the validation split: base and each iteration are profiled and measured, iterations also before retraining
    and after each epoch."""
    return 2 + work.iterations * (3 + work.epochs)


def procedure_seconds(work: Work, rates: Rates, devices: int, epoch: float) -> float:
    """The whole procedure from a trained network on, with `epoch` seconds for an epoch of training."""
    evaluation = passes(work) * work.validation_images / (rates.evaluation * devices)
    return work.iterations * work.epochs * epoch + evaluation


def tables(work: Work, rates: Rates, batch: int) -> Iterator[str]:
    """Two Markdown tables: what computing takes, and what the exchange adds."""
    yield _table(
        ["devices", "batch", "steps an epoch", "s an epoch", "h in all", "sent by each a step", "... an epoch",
         "... for a profile"],
        (_computing(work, rates, batch, devices) for devices in DEVICES),
    )  # fmt: skip
    yield _table(
        ["devices", "link", "ms a step", "s an epoch: computing", "exchange", "hidden", "not hidden", "h in all",
         "efficiency"],
        (_exchanging(work, rates, batch, devices, link) for devices in DEVICES[1:] for link in LINKS),
    )  # fmt: skip


def _computing(work: Work, rates: Rates, batch: int, devices: int) -> list[str]:
    count, epoch = steps(work.train_images, batch, devices), epoch_seconds(work, rates, devices)
    a_step = ring_bytes(4 * work.parameters, devices)
    return [
        str(devices), f"{batch * devices:,}", f"{count:,}", f"{epoch:,.0f}",
        f"{procedure_seconds(work, rates, devices, epoch) / 3600:,.2f}", _bytes(a_step), _bytes(count * a_step),
        _bytes(ring_bytes(work.neurons * COUNT_BYTES, devices)),
    ]  # fmt: skip


def _exchanging(work: Work, rates: Rates, batch: int, devices: int, link: str) -> list[str]:
    computing = epoch_seconds(work, rates, devices)
    exchange = exchange_seconds(work, batch, devices, LINKS[link])
    hidden, not_hidden = max(computing, exchange), computing + exchange
    hours = [procedure_seconds(work, rates, devices, epoch) / 3600 for epoch in (hidden, not_hidden)]
    return [
        str(devices), link, f"{1e3 * exchange / steps(work.train_images, batch, devices):,.1f}", f"{computing:,.0f}",
        f"{exchange:,.1f}", f"{hidden:,.0f}", f"{not_hidden:,.0f}", f"{hours[0]:,.2f} to {hours[1]:,.2f}",
        f"{computing / not_hidden:.0%} to {computing / hidden:.0%}",
    ]  # fmt: skip


def _table(titles: list[str], rows: Iterable[list[str]]) -> str:
    lines = [titles, ["---:"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.3g} {unit}"
    return f"{count:.0f} B"


def measured(device: torch.device, batch: int, rounds: int = 3) -> Rates:
    """The rates of one device with VGG-16 at 224 pixels, on noise, trained as a run trains; warm-up left out."""
    pixels = torch.randint(0, 256, (batch * (rounds + 1), 3, 224, 224), dtype=torch.uint8)
    noise = Resident(pixels, torch.arange(len(pixels)) % 1000, 224, 3)
    data = Data("noise", tuple(map(str, range(1000))), noise, noise, noise, (0.5,) * 3, (0.29,) * 3, 3, 224)
    network = place(models.build("vgg16", num_classes=1000, image_size=224), device, torch.zeros(1, 3, 224, 224))
    settings = Training(epochs=1, batch_size=batch, lr=1e-3)
    training = train_epoch(
        network, make_optimizer(network, settings), data, settings, device, epoch=0, epochs=1, seed=0
    )
    next(training)
    begin = _now(device)
    for _ in range(rounds):
        next(training)
    between = _now(device)
    evaluated = noise.subset(batch)
    evaluate(network, evaluated, data, device)
    again = _now(device)
    evaluate(network, evaluated, data, device)
    return Rates(rounds * batch / (between - begin), batch / (_now(device) - again))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images-per-second", type=float, help="of one device in training; not measured then")
    parser.add_argument("--epochs", type=int, default=Work.epochs, help="of retraining in each iteration")
    parser.add_argument("--batch", type=int, help="images a device a step; default: 32, or 8 measured on a CPU")
    given = parser.parse_args()
    rate, device = given.images_per_second, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if rate:
        rates, batch = Rates(rate, FORWARD * rate), given.batch or 32
        print(f"One device, as given: {rates.training:,.1f} images/s in training; evaluation {FORWARD} times that.\n")
    else:
        batch = given.batch or (32 if device.type == "cuda" else 8)
        rates = measured(device, batch)
        threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
        print(f"One device ({device}{threads}), measured with batches of {batch}: {rates.training:,.1f} images/s in "
              f"training, {rates.evaluation:,.1f} in evaluation.\n")  # fmt: skip
    print("\n\n".join(tables(Work(epochs=given.epochs), rates, batch)))


if __name__ == "__main__":
    main()
