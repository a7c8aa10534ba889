"""The command `trimcore propose`."""

from collections.abc import Callable
from pathlib import Path

import click
import tomli_w

from trimcore import runs
from trimcore.cli.options import DEVICE, ITERATION, LIMIT, RUN, RUNS
from trimcore.errors import TrimError


@click.command()
@RUN
@ITERATION
@click.option("--smaller", type=float, help="Reduce the parameters by this factor.")
@click.option("--less-work", type=float, help="Reduce the MACs by this factor.")
@click.option("--no-layer-above", type=float, help="Remove all neurons with an APoZ above this, 0 to 1.")
@click.option(
    "--accuracy", type=float, help="As small as possible at this accuracy, or other metric, before retraining."
)
@click.option("--measured", is_flag=True, help="First measure how much each layer can lose (see `sensitivity`).")
@LIMIT
@DEVICE
@RUNS
def propose(
    run_id: str, iteration: int | None, smaller: float | None, less_work: float | None, no_layer_above: float | None,
    accuracy: float | None, measured: bool, limit: int, device: str, runs_folder: Path | None,
) -> None:  # fmt: skip
    """Print a [[step]] that meets a target, with its cost and its accuracy before retraining."""
    from trimcore.cli.measurement import scan as scanned
    from trimcore.evaluation.masking import one_shot
    from trimcore.graph.costs import cost_of
    from trimcore.planning import targets
    from trimcore.planning.sensitivity import FRACTIONS as ALL
    from trimcore.training.prepare import open_iteration

    given: dict[Callable[[float], targets.Target], float | None] = {
        targets.Smaller: smaller, targets.LessWork: less_work, targets.NoLayerAbove: no_layer_above,
        targets.Accuracy: accuracy,
    }  # fmt: skip
    chosen = [kind(value) for kind, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise TrimError("give exactly one target: --smaller, --less-work, --no-layer-above or --accuracy")
    found = open_iteration(runs.runs_folder(runs_folder), run_id, iteration, device)
    scan = scanned(found, limit, ALL) if measured or accuracy is not None else None
    profile = found.profile(found.spec.profile.examples)
    plan = targets.propose(found.graph, profile, chosen[0], sensitivity=scan, cost_aware=True)
    click.echo(tomli_w.dumps({"step": [targets.as_step(plan, profile)]}))
    now, then = cost_of(found.graph), cost_of(found.graph, plan)
    shot, metric = one_shot(found.graph, plan, found.batches(limit), task=found.task), found.task.metric
    click.echo(
        f"# {then.parameters:,} of {now.parameters:,} parameters, {then.macs:,} of {now.macs:,} MACs; "
        f"validation {metric.name} before retraining {metric.text(shot.value)} on {shot.examples} examples"
    )
