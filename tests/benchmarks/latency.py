"""Is the pruned network really faster? Measured time beside counted work, and what rounding widths does to both.

Half of the neurons of every trimmable layer are removed, at random: how long a pass takes depends on widths alone.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from tests.benchmarks.rows import Row, alternating, in_ms, of_a_part
from tests.trimcore.oracle import random_plan
from trimcore.compute.device import describe, has_fast_bf16, resolve
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import cost
from trimcore.graph.tracing import trace
from trimcore.models import build
from trimcore.planning.rounding import rounded_up
from trimcore.surgery.cut import prune

NETWORKS = {"lenet5": (1, 28, 128), "vgg16-small": (3, 32, 32), "resnet18": (3, 64, 16), "mobilenet_v2": (3, 64, 16)}
MULTIPLE = 16


def rows(rounds: int = 5) -> Iterator[Row]:
    device = resolve("auto")
    for name, (channels, size, batch) in NETWORKS.items():
        model = build(name, num_classes=10, in_channels=channels, image_size=size).eval().to(device)
        if has_fast_bf16(device):
            model = model.to(memory_format=torch.channels_last)
        x = torch.randn(batch, channels, size, size, device=device)
        x = x.to(memory_format=torch.channels_last) if has_fast_bf16(device) else x
        graph = trace(model, x)
        exact = random_plan(graph, 0.5, seed=0)
        rounded = {name: rounded_up(cut, _groups(graph, name), MULTIPLE, float) for name, cut in exact.items()}
        networks = [model, *(prune(model, plan, graph=graph) for plan in (exact, rounded))]
        costs = [cost(network, x[:1]) for network in networks]
        with torch.inference_mode():
            times = alternating([partial(_pass, network, x) for network in networks], 3 * rounds, warm_up=2)
        case = f"{name}, {size} px, batch {batch}, {describe(device)}"
        for number, which in ((1, "half of the neurons"), (2, f"half, widths rounded up to {MULTIPLE}")):
            work = costs[0].macs / costs[number].macs
            more = costs[number].parameters / costs[1].parameters - 1
            yield Row("latency", f"{case}, {which}", "base time over pruned time", times[0] / times[number], "",
                      in_ms(times[number]), in_ms(times[0]),
                      f"MACs {work:.2f}x fewer, parameters {costs[0].parameters / costs[number].parameters:.2f}x"
                      + (f", {more:.1%} more than unrounded" if number == 2 else ""))  # fmt: skip


def _pass(network: nn.Module, x: Tensor) -> None:
    network(x)
    if x.is_cuda:
        torch.cuda.synchronize()


def _groups(graph: ChannelGraph, layer: str) -> dict[int, int]:
    return dict(enumerate(graph.layers[layer].neurons.tolist()))


if __name__ == "__main__":
    of_a_part(rows())
