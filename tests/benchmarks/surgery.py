"""Trace and surgery against Torch-Pruning, and against the floor: the trace of torch.fx and one copy of the weights.

Each removes a quarter of the neurons at random and leaves the network that it was given as it was: the time includes
finding out what hangs together. Images of 224 pixels, float32, 1,000 classes, new weights.
"""

import copy
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import fx, nn

from tests.benchmarks.rows import Row, alternating, in_ms, of_a_part
from tests.trimcore.oracle import random_plan
from trimcore.graph.tracing import trace
from trimcore.models import build
from trimcore.surgery.cut import prune

FASTER = {"vgg16": 3, "densenet121": 3}  # than Torch-Pruning, at least so many times; the others: not slower
NETWORKS = ("resnet18", "resnet50", "resnet152", "vgg16", "densenet121", "mobilenet_v2")
DEPTHS = (18, 34, 50, 101, 152)  # of ResNet: how does the time grow?


def rows(rounds: int = 5) -> Iterator[Row]:
    times = {}
    for name in NETWORKS:
        network, x = build(name, num_classes=1000, image_size=224).eval(), torch.zeros(1, 3, 224, 224)
        plan = random_plan(trace(network, x), 0.25, seed=0)
        ours, floor = lambda: prune(network, plan, graph=trace(network, x)), lambda: _floor(network)  # noqa: B023
        peer = torch_pruning(network, x)
        mine, least, *theirs = times[name] = alternating([ours, floor, *([peer] if peer else [])], rounds)
        ratio, shown = (theirs[0] / mine, in_ms(theirs[0])) if theirs else (None, "not installed")
        yield Row("surgery", f"{name}, 224 px", "Torch-Pruning's time over ours", ratio,
                  f">= {FASTER.get(name, 1)}", in_ms(mine), shown)  # fmt: skip
        yield Row("surgery", f"{name}, 224 px", "time over the floor", mine / least, "", in_ms(mine), in_ms(least))
    yield from growth(rounds)


def growth(rounds: int) -> Iterator[Row]:
    """Seconds per layer of the deepest ResNet over those of the shallowest: 1 if time grows in proportion to depth."""
    per_layer, x = [], torch.zeros(1, 3, 32, 32)
    for depth in DEPTHS:
        network = build(f"resnet{depth}", num_classes=10, image_size=32).eval()
        graph = trace(network, x)
        plan = random_plan(graph, 0.25, seed=0)
        (seconds,) = alternating([lambda: prune(network, plan, graph=trace(network, x))], rounds)  # noqa: B023
        per_layer.append(seconds / len(graph.layers))
    shown = ", ".join(f"{depth}: {1e3 * s:.1f}" for depth, s in zip(DEPTHS, per_layer, strict=True))
    yield Row("surgery", "ResNet-152 and ResNet-18, 32 px", "time per layer, deep over shallow",
              per_layer[-1] / per_layer[0], "<= 1.5", f"{per_layer[-1] * 1e3:.1f} ms a layer",
              f"{per_layer[0] * 1e3:.1f} ms a layer", f"ms a layer by depth: {shown}")  # fmt: skip


def _floor(network: nn.Module) -> nn.Module:
    fx.symbolic_trace(network)
    return copy.deepcopy(network)


def torch_pruning(network: nn.Module, x: torch.Tensor) -> Callable[[], object] | None:
    """Its graph and its cut, of a copy; None where it is not installed."""
    try:
        import torch_pruning
    except ImportError:
        return None
    (*_, last) = (name for name, m in network.named_modules() if isinstance(m, nn.Linear))

    def cut() -> nn.Module:
        theirs = copy.deepcopy(network)
        importance = torch_pruning.importance.RandomImportance()
        ignored = [theirs.get_submodule(last)]
        torch_pruning.pruner.BasePruner(theirs, x, importance, pruning_ratio=0.25, ignored_layers=ignored).step()
        return theirs

    return cut


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    of_a_part(rows())
