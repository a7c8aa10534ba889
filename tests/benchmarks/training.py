"""Retraining against the loop that everybody writes first: DataLoader, torchvision's transforms, float32.

Both train the same network with the same settings on the same images, each moved by up to two pixels. And against the
machine: which share of its rate for large matrix products is reached; and how long the data alone takes.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from tests.benchmarks.rows import Row, alternating, of_a_part
from trimcore.compute.device import describe, has_fast_bf16, resolve
from trimcore.compute.layout import place
from trimcore.data import Data
from trimcore.data import load as load_data
from trimcore.data.batches import Batches
from trimcore.graph.costs import cost
from trimcore.models import build
from trimcore.spec import Training
from trimcore.training.epoch import EpochResult, train_epoch
from trimcore.training.optimizer import make_optimizer

GOALS = {("lenet5", "cpu"): 5, ("vgg16-small", "cpu"): 1.8, ("lenet5", "cuda"): 8, ("vgg16-small", "cuda"): 4}
STEPS = {"lenet5": 31, "vgg16-small": 3}  # of 128 images, a round
SIZE = {"lenet5": 28, "vgg16-small": 32}  # pixels
BATCH = 128
FORWARD_AND_BACKWARD = 3  # a training step takes about three times the multiply-accumulates of a forward pass


def rows(rounds: int = 5) -> Iterator[Row]:
    device = resolve("auto")
    rate = matrix_rate(device)
    for name, steps in STEPS.items():
        case = f"{name}, batch {BATCH}, {describe(device)}"
        data = load_data("mnist-5k", image_size=SIZE[name])
        some = replace(data, train=data.train.subset(steps * BATCH))
        ours, plain = trimcore_loop(name, some, device), plain_loop(name, some, device)
        bare = kernels_alone(name, some, device)
        mine, theirs, only_data, least = alternating(
            [ours, plain, lambda: loading(some, device), bare], rounds,  # noqa: B023
        )  # fmt: skip
        count = steps * BATCH
        yield Row("retraining", case, "images/s over those of a plain loop", theirs / mine,
                  f">= {GOALS[name, device.type]}" if (name, device.type) in GOALS else "",
                  f"{count / mine:,.0f} images/s", f"{count / theirs:,.0f} images/s")  # fmt: skip
        yield Row("retraining", case, "... if convolutions and matrix products were all", theirs / least, "",
                  f"{count / least:,.0f} images/s", f"{count / theirs:,.0f} images/s")  # fmt: skip
        yield Row("retraining", case, "share of the time that the data takes", only_data / mine, "<= 0.1",
                  f"{count / only_data:,.0f} images/s prepared", "")  # fmt: skip
        work = FORWARD_AND_BACKWARD * cost(build(name, **_shape(data)), torch.zeros(1, *data.example_shape)).macs
        yield Row("retraining", case, "share of the rate of large matrix products", work * count / mine / rate, "",
                  f"{work * count / mine / 1e9:,.0f} GMAC/s", f"{rate / 1e9:,.0f} GMAC/s")  # fmt: skip


def trimcore_loop(name: str, data: Data, device: torch.device) -> Callable[[], None]:
    torch.manual_seed(0)
    network = place(build(name, **_shape(data)), device, data.example_input)
    settings = Training(batch_size=BATCH, augment="shift")
    optimizer, epochs = make_optimizer(network, settings), itertools.count()

    def epoch() -> None:
        (*_, last) = train_epoch(network, optimizer, data, settings, device, epoch=next(epochs), epochs=10**4, seed=0)
        assert isinstance(last, EpochResult)
        _wait(device)

    return epoch


def plain_loop(name: str, data: Data, device: torch.device) -> Callable[[], None]:
    torch.manual_seed(0)
    network, settings = build(name, **_shape(data)).to(device), Training()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=settings.lr, momentum=settings.momentum, nesterov=True,
        weight_decay=settings.weight_decay,
    )  # fmt: skip
    loader = DataLoader(Pictures(data), BATCH, shuffle=True, drop_last=True)

    def epoch() -> None:
        network.train()
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
        _wait(device)

    return epoch


def kernels_alone(name: str, data: Data, device: torch.device) -> Callable[[], None]:
    """What no training loop can do without: each convolution and linear layer, forward and backward, in the precision
    that training has, on inputs that are there already."""
    network, dtype = build(name, **_shape(data)).to(device), torch.bfloat16 if has_fast_bf16(device) else torch.float32
    layout = torch.channels_last if has_fast_bf16(device) else torch.contiguous_format
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    shapes = {}
    for layer in layers:
        layer.register_forward_pre_hook(lambda layer, given: shapes.update({layer: given[0].shape}))
    network(torch.zeros(BATCH, *data.example_shape, device=device))
    calls = []
    for layer in layers:
        layer._forward_pre_hooks.clear()
        x = torch.randn(shapes[layer], device=device, dtype=dtype)
        x, layer = (one.to(memory_format=layout) if x.dim() == 4 else one for one in (x, layer.to(dtype)))
        x.requires_grad_(layer is not layers[0])  # nobody wants the gradient of the images
        calls.append((layer, x, torch.randn_like(layer(x))))

    def steps() -> None:
        for _ in range(STEPS[name]):
            for layer, x, gradient in calls:
                torch.autograd.backward(layer(x), gradient)
        _wait(device)

    return steps


class Pictures(Dataset):
    """The train split as torchvision's data sets give theirs: an image at a time, through transforms."""

    def __init__(self, data: Data):
        self.pixels, self.labels = data.train.pixels.squeeze(1).numpy(), data.train.labels.tolist()
        self.transform = transforms.Compose([
            transforms.Resize(data.image_size), transforms.RandomCrop(data.image_size, padding=2),
            transforms.ToTensor(), transforms.Normalize(data.mean, data.std),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def loading(data: Data, device: torch.device) -> None:
    """An epoch of images alone, augmented and normalised."""
    layout = has_fast_bf16(device)
    for _ in Batches(data.train, data, BATCH, device, seed=0, augment="shift", channels_last=layout):
        pass
    _wait(device)


def matrix_rate(device: torch.device, size: int = 2048) -> float:
    """Multiply-accumulates a second of a large matrix product, in the precision that training has."""
    dtype = torch.bfloat16 if has_fast_bf16(device) else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def product() -> None:
        a @ b
        _wait(device)

    (seconds,) = alternating([product], rounds=9, warm_up=3)
    return size**3 / seconds


def _shape(data: Data) -> dict[str, int]:
    return {"num_classes": data.num_classes, "in_channels": data.channels, "image_size": data.image_size}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    of_a_part(rows())
