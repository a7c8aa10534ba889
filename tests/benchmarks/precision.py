"""Does training in bfloat16 cost accuracy? LeNet-5 from the same new weights, in both precisions, five seeds.

Full MNIST where its files are at hand (10,000 images to train on, 10,000 to test), else mnist-5k. The difference of two
runs with one seed is of two different roundings, not of two different starts.
"""

import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import torch

from tests.benchmarks.rows import Row, of_a_part
from trimcore.compute.device import describe, has_fast_bf16, resolve
from trimcore.compute.layout import place
from trimcore.data import Data
from trimcore.data import load as load_data
from trimcore.errors import DataError
from trimcore.evaluation.accuracy import evaluate
from trimcore.models import build
from trimcore.spec import Training
from trimcore.training import epoch as training
from trimcore.training.optimizer import make_optimizer

EPOCHS, SEEDS, IMAGES = 8, 5, 10_000


def rows(seeds: int = SEEDS) -> Iterator[Row]:
    device = resolve("auto")
    if not has_fast_bf16(device):
        return
    data = _data()
    pairs = [[_accuracy(data, device, seed, bf16) for bf16 in (True, False)] for seed in range(seeds)]
    differences = [100 * (fast - exact) for fast, exact in pairs]
    mean, spread = statistics.mean(differences), statistics.stdev(differences)
    error = spread / math.sqrt(seeds)
    fast, exact = (100 * statistics.mean(column) for column in zip(*pairs, strict=True))
    case = f"lenet5, {data.name}, {len(data.train):,} images, {EPOCHS} epochs, {seeds} seeds, {describe(device)}"
    yield Row("precision", case, "test accuracy, bfloat16 less float32, in points", mean, f">= {-2 * error:.3f}",
              f"{fast:.2f} %", f"{exact:.2f} %",
              f"standard deviation {spread:.2f}, standard error {error:.2f}; the goal is twice that")  # fmt: skip


def _data() -> Data:
    try:
        data = load_data("mnist")
    except DataError:
        data = load_data("mnist-5k")
    return replace(data, train=data.train.subset(IMAGES))


def _accuracy(data: Data, device: torch.device, seed: int, bf16: bool) -> float:
    with mock.patch("trimcore.compute.device.has_fast_bf16", return_value=bf16), mock.patch.object(
        training, "has_fast_bf16", return_value=bf16
    ):  # fmt: skip
        torch.manual_seed(seed)
        network = build("lenet5", num_classes=data.num_classes, in_channels=data.channels, image_size=data.image_size)
        network = place(network, device, data.example_input)
        settings = Training(epochs=EPOCHS, lr=0.05, augment="shift")
        optimizer = make_optimizer(network, settings)
        for epoch in range(EPOCHS):
            for _ in training.train_epoch(
                network, optimizer, data, settings, device, epoch=epoch, epochs=EPOCHS, seed=seed
            ):  # fmt: skip
                pass
        return evaluate(network, data.test, data, device).accuracy


if __name__ == "__main__":
    of_a_part(rows())
