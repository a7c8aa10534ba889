"""A run of a large network, and very many runs, with made-up events and without training."""

import random
import shutil
from pathlib import Path

from tests.dashboard.fakes import fake_run
from trimcore.spec import presets
from trimcore.training.prepare import blank


def vgg16_widths() -> dict[str, int]:
    graph = blank("vgg16", 10, 3, 32)
    return {name: graph.layers[name].width for name in graph.trimmable()}


def vgg16_draft() -> dict:
    return {**presets.default_for("vgg16").model_dump(exclude_none=True), "data": "mnist-5k", "image_size": 32}


def fake_vgg16(folder: Path) -> str:
    """A run with eight iterations and an APoZ for each neuron, without checkpoints."""
    widths, generator = vgg16_widths(), random.Random(0)
    assert sum(widths.values()) == 12_416
    stages = [{name: width - width * k // 12 for name, width in widths.items()} for k in range(8)]
    return fake_run(folder, vgg16_draft(), stages, [0.9] * 8,
                    apoz=lambda width: [round(generator.betavariate(2, 1), 6) for _ in range(width)])  # fmt: skip


def many_runs(folder: Path, count: int) -> None:
    """Finished LeNet-5 runs with three cuts each."""
    stages = [{"conv1": 20 - k, "conv2": 50 - 5 * k, "fc1": 500 - 80 * k} for k in range(4)]
    first = folder / fake_run(folder, {}, stages, [0.97, 0.96, 0.95, 0.94])
    for number in range(count - 1):
        day, minute = divmod(number, 60)
        shutil.copytree(first, folder / f"202501{day + 1:02}-10{minute:02}00-lenet5-{number:04x}")
