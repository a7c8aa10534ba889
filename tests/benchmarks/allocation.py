"""Which layers should lose how much? Three ways to compare neurons of different layers, for the same size.

By APoZ per parameter saved, by equal measured loss in every layer, and by the growth of the measured loss per parameter
saved, which is what proposals do. Accuracies are those of the test split, before and after the same retraining; plans
only see the validation split.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.rows import Row, of_a_part
from tests.benchmarks.trained import percents, trained
from trimcore.planning.targets import Smaller, propose

NETWORKS = {"lenet5": (28, 4.0), "vgg16-small": (32, 2.0), "resnet18": (64, 2.0)}  # pixels, times smaller
BASE_EPOCHS, EPOCHS, SEEDS = 4, 2, (0, 1)


def rows() -> Iterator[Row]:
    for name, (size, times) in NETWORKS.items():
        found: dict[str, list[tuple[float, float]]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for seed in SEEDS:
                base = trained(name, size, seed, BASE_EPOCHS, Path(folder))
                graph, profile = base.opened.graph, base.opened.profile()
                plans = {
                    "by APoZ": propose(graph, profile, Smaller(times), cost_aware=True),
                    "equal measured loss": propose(graph, profile, Smaller(times), sensitivity=base.loss),
                    "growth of measured loss": propose(graph, profile, Smaller(times), sensitivity=base.loss,
                                                       cost_aware=True),
                }  # fmt: skip
                for label, plan in plans.items():
                    found.setdefault(label, []).append(base.carried_out(plan, EPOCHS))
        for label, of_plan in found.items():
            before, after = zip(*of_plan, strict=True)
            yield Row("allocation", f"{name}, {times:g} times smaller, {label}", "mean accuracy after retraining, %",
                      100 * sum(after) / len(after), "", f"after {percents(after)}", f"before {percents(before)}",
                      f"seeds {SEEDS}")  # fmt: skip


if __name__ == "__main__":
    of_a_part(rows())
