"""What can be trimmed of every registered network, how exactly, and how quickly: a table, as CSV on standard output.

    python -m tests.zoo [NAME ...] > zoo.csv
    python -m tests.zoo --wild [NAME ...] > wild.csv

With `--wild`, networks that other people wrote, see `tests.wild`.

Random weights, images of 32 pixels (or the smallest that the network takes), float64 (float32 beyond 500 million
parameters). Differences are those of the pruned from the masked network, relative to the output, with 25 % and 50 % of
the neurons of every trimmable layer removed at random. Seconds are those of trace and surgery, the original left as it
was, removing 25 % (median of three); beside them those of Torch-Pruning, if it is installed, in the same process,
alternating: its graph and its cut, in place, of a copy made before.
"""

import collections
import copy
import csv
import gc
import re
import signal
import statistics
import sys
import time
import warnings

import torch

from tests.trimcore import zoo
from tests.trimcore.oracle import random_plan
from trimcore import models
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.tracing import trace
from trimcore.models.registry import BUILT_IN
from trimcore.surgery.cut import prune

ROUNDS = 3
PATIENCE = 4.0  # seconds after which one round of theirs is enough
COLUMNS = [
    "model", "parameters", "layers", "trimmable_neurons", "frozen_neurons", "reasons", "difference_25", "difference_50",
    "seconds", "torch_pruning_seconds",
]  # fmt: skip


def reasons(graph: ChannelGraph) -> str:
    """Frozen neurons by reason, without the names of operations."""
    counts: collections.Counter[str] = collections.Counter()
    for layer in graph.layers.values():
        frozen = layer.width - len(graph.candidates(layer.name))
        if frozen:
            what = layer.reason or "part of the layer is frozen"
            what = re.sub(r"( at)? \S*[._\d]\S*", "", re.sub(r"^\S*[._\d]\S* ", "", what))
            counts[what.removeprefix("its ").removeprefix("it ")] += frozen
    return "; ".join(f"{what} ({count:,})" for what, count in counts.most_common())


def ours(network, x, plan) -> None:
    prune(network, plan, graph=trace(network, x))


def theirs(network, x) -> None:
    import torch_pruning

    last = [m for m in network.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)][-1]
    importance = torch_pruning.importance.RandomImportance()
    pruner = torch_pruning.pruner.BasePruner(network, x, importance, pruning_ratio=0.25, ignored_layers=[last])
    pruner.step()


def timed(action, *operands) -> float:
    start = time.perf_counter()
    action(*operands)
    return time.perf_counter() - start


class Patience:
    """Raises TimeoutError in the main thread after so many seconds."""

    def __init__(self, limit: int):
        self.limit = limit

    def __enter__(self) -> None:
        signal.signal(signal.SIGALRM, self._end)
        signal.alarm(self.limit)

    def __exit__(self, *_) -> None:
        signal.alarm(0)

    def _end(self, *_) -> None:
        raise TimeoutError(f"not within {self.limit} s")


def seconds(network, x, plan) -> tuple[float, str]:
    """Ours and theirs; what went wrong in place of theirs if something did."""
    own: list[float] = []
    other: list[float] = []
    trouble = ""
    for _ in range(ROUNDS):
        own.append(timed(ours, network, x, plan))
        if trouble or (other and other[-1] > PATIENCE):
            continue
        victim = copy.deepcopy(network)
        before = sum(p.numel() for p in victim.parameters())
        try:
            with Patience(30):
                other.append(timed(theirs, victim, x))
            with torch.no_grad():
                victim(x)
        except ImportError:
            trouble = "not installed"
        except Exception as error:  # noqa: BLE001 (whatever it raises is its result)
            trouble = f"{type(error).__name__}: {str(error).splitlines()[0][:60]}" if str(error) else repr(error)
        if not trouble and sum(p.numel() for p in victim.parameters()) == before:
            trouble = "pruned nothing"
        del victim
    return statistics.median(own), trouble or f"{statistics.median(other):.3f}"


def row(name: str) -> dict:
    network, x = zoo.filled(name)
    graph = trace(network, x)
    candidates = sum(len(graph.candidates(layer)) for layer in graph.layers)
    width = sum(layer.width for layer in graph.layers.values())
    differences = [zoo.differences(graph, x, ratio, seed)[0] for ratio, seed in ((0.25, 0), (0.5, 1))]
    own, other = seconds(network, x, random_plan(graph, 0.25, 0))
    values = [
        name, sum(p.numel() for p in network.parameters()), len(graph.layers), candidates, width - candidates,
        reasons(graph), *(f"{difference:.1e}" for difference in differences), f"{own:.3f}", other,
    ]  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    if "--wild" in sys.argv:
        from tests import wild

        wild.main([name for name in sys.argv[1:] if name != "--wild"])
        return
    warnings.simplefilter("ignore")
    table = csv.DictWriter(sys.stdout, COLUMNS)
    table.writeheader()
    for name in sys.argv[1:] or [name for name in models.REGISTRY if name in BUILT_IN]:
        table.writerow(row(name))
        sys.stdout.flush()
        gc.collect()


if __name__ == "__main__":
    main()
