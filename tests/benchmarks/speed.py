"""Twice as fast, by the clock: against a plan that halves the MACs, before and after the same retraining.

Each network is trained on mnist-5k and cut once, by three plans: half the MACs by APoZ, half the MACs by measured loss,
and half the milliseconds by measured loss. Accuracies are those of the test split; plans only see the validation split.
"""

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.rows import Row, of_a_part
from tests.benchmarks.trained import percents, trained
from trimcore.graph.removal import removed_groups
from trimcore.planning.plan import Plan
from trimcore.planning.targets import Faster, LessWork, propose
from trimcore.timing.prediction import TimeModel

NETWORKS = {"resnet18": 16, "mobilenet_v2": 64}  # and the batch that is timed
SIZE, BASE_EPOCHS, EPOCHS, SEEDS = 64, 3, 2, (0, 1, 2)
HALF_MACS_BY_APOZ, HALF_MACS, HALF_MS = "half the MACs, by APoZ", "half the MACs", "half the milliseconds"


@dataclass(frozen=True)
class Cut:
    times_faster: float
    neurons: int
    before: float
    after: float


def rows() -> Iterator[Row]:
    for name, batch in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = [cuts(name, batch, seed, Path(folder)) for seed in SEEDS]
        for plan in found[0]:
            of_plan = [seed[plan] for seed in found]
            speed = statistics.median(cut.times_faster for cut in of_plan)
            yield Row("speed", f"{name}, {SIZE} px, batch {batch}, {plan}", "base time over pruned time", speed,
                      ">= 2" if plan == HALF_MS else "",
                      f"accuracy after {EPOCHS} epochs {percents(cut.after for cut in of_plan)}",
                      f"before {percents(cut.before for cut in of_plan)}",
                      f"neurons lost {[cut.neurons for cut in of_plan]}, seeds {SEEDS}")  # fmt: skip


def cuts(name: str, batch: int, seed: int, folder: Path) -> dict[str, Cut]:
    """The three plans for a newly trained network, each carried out and retrained."""
    base = trained(name, SIZE, seed, BASE_EPOCHS, folder)
    graph, profile = base.opened.graph, base.opened.profile()
    clock = TimeModel(graph, base.opened.example, batch)
    plans = {
        HALF_MACS_BY_APOZ: propose(graph, profile, LessWork(2), cost_aware=True),
        HALF_MACS: propose(graph, profile, LessWork(2), sensitivity=base.loss, cost_aware=True),
        HALF_MS: propose(graph, profile, Faster(2), sensitivity=base.loss, cost_aware=True, time=clock),
    }
    def measured(plan: Plan) -> Cut:
        faster = clock.base_ms / clock.measure(removed_groups(graph, plan))
        return Cut(faster, plan.total, *base.carried_out(plan, EPOCHS))

    return {label: measured(plan) for label, plan in plans.items()}


if __name__ == "__main__":
    of_a_part(rows())
