"""Is the time of a network after a cut predicted before the cut? Predicted against measured, relative to the whole.

Cuts: a quarter, half and three quarters of every layer, and three with a random share of each layer.
"""

import random
import statistics
from collections.abc import Iterator

import torch

from tests.benchmarks.rows import Row, of_a_part
from tests.trimcore.oracle import random_plan
from trimcore.compute.device import describe, resolve
from trimcore.compute.layout import place
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.tracing import trace
from trimcore.models import build
from trimcore.surgery.cut import cut
from trimcore.timing.latency import compare_latency
from trimcore.timing.prediction import TimeModel

NETWORKS = {  # channels, pixels, and the larger batch
    "lenet5": (1, 28, 128), "resnet18": (3, 64, 16), "mobilenet_v2": (3, 64, 16), "vgg16-small": (3, 32, 32),
    "efficientnet_b0": (3, 64, 16), "small ViT": (3, 32, 32),
}  # fmt: skip
SHARES = (0.25, 0.5, 0.75, None, None, None)
GOAL = 0.1


def rows(rounds: int = 5) -> Iterator[Row]:
    device = resolve("auto")
    for name, (channels, size, many) in NETWORKS.items():
        torch.manual_seed(0)
        example = torch.randn(1, channels, size, size, device=device)
        model = place(network(name, channels, size).eval(), device, example)
        graph = trace(model, example)
        for batch in (1, many):
            found = TimeModel(graph, example, batch)
            errors = [error_of(found, graph, example, seed, 5 * rounds) for seed in range(len(SHARES))]
            case = f"{name}, {size} px, batch {batch}, {describe(device)}"
            error, worst = statistics.median(map(abs, errors)), max(map(abs, errors))
            yield Row("prediction", case, "median error of predicted time", error, f"<= {GOAL}",
                      ours=" ".join(f"{one:+.1%}" for one in errors),
                      note=f"worst {worst:.1%}, whole network {found.base_ms:.2f} ms")  # fmt: skip


def network(name: str, channels: int, size: int) -> torch.nn.Module:
    if name != "small ViT":
        return build(name, num_classes=10, in_channels=channels, image_size=size)
    from torchvision.models import VisionTransformer

    return VisionTransformer(size, 8, num_layers=4, num_heads=4, hidden_dim=128, mlp_dim=512, num_classes=10)


def error_of(found: TimeModel, graph: ChannelGraph, example: torch.Tensor, seed: int, rounds: int) -> float:
    """The relative error of the predicted share of the whole network's time."""
    choice = random.Random(seed)
    plan = {}
    for layer in graph.trimmable():
        share = SHARES[seed] if SHARES[seed] is not None else 0.8 * choice.random()
        plan |= random_plan(graph, share, seed, [layer])
    predicted = found.predict(plan) / found.base_ms
    (row,) = compare_latency(graph.model, cut(graph, plan).model, example, [found.batch], rounds, limit_seconds=5)
    return predicted * row.ratio - 1


if __name__ == "__main__":
    of_a_part(rows())
