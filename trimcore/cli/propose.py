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
@click.option("--faster", type=float, help="Reduce the milliseconds per batch by this factor, on this device.")
@click.option("--within", type=float, metavar="MS", help="At most this many milliseconds per batch, on this device.")
@click.option("--no-layer-above", type=float, help="Remove all neurons with an APoZ above this, 0 to 1.")
@click.option(
    "--accuracy", type=float, help="As small as possible at this accuracy, or other metric, before retraining."
)
@click.option(
    "--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Examples that are timed at once."
)
@click.option("--by-apoz", is_flag=True, help="Compare layers by APoZ instead of by measured loss (see `sensitivity`).")
@click.option("--measured", is_flag=True, hidden=True)  # it has become the default
@LIMIT
@DEVICE
@RUNS
def propose(
    run_id: str, iteration: int | None, smaller: float | None, less_work: float | None, faster: float | None,
    within: float | None, no_layer_above: float | None, accuracy: float | None, batch: int, by_apoz: bool,
    measured: bool, limit: int, device: str, runs_folder: Path | None,
) -> None:  # fmt: skip
    """Print a [[step]] that meets a target, with its cost and its accuracy before retraining.

    Several targets are met together. Within a layer, the neurons with the highest APoZ go first. Across layers, those
    go first whose loss is small for what they save.
    """
    from trimcore.cli.measurement import scan as scanned
    from trimcore.evaluation.masking import one_shot
    from trimcore.graph.costs import cost_of
    from trimcore.graph.removal import removed_groups
    from trimcore.planning import targets
    from trimcore.planning.sensitivity import FRACTIONS as ALL
    from trimcore.timing.prediction import TimeModel
    from trimcore.timing.width_tables import FOLDER
    from trimcore.training.prepare import open_iteration

    given: dict[Callable[[float], targets.Target], float | None] = {
        targets.Smaller: smaller, targets.LessWork: less_work, targets.Faster: faster, targets.Within: within,
        targets.NoLayerAbove: no_layer_above, targets.Accuracy: accuracy,
    }  # fmt: skip
    chosen = [kind(value) for kind, value in given.items() if value is not None]
    if not chosen:
        raise TrimError(
            "give a target: --smaller, --less-work, --faster, --within, --no-layer-above or --accuracy; "
            "several are met together"
        )
    targets.check_targets([one for one in chosen if not isinstance(one, targets.Accuracy)] or [targets.Smaller(1)])
    if by_apoz and accuracy is not None:
        raise TrimError("--accuracy needs the measured loss of each layer, so it does not go with --by-apoz")
    folder = runs.runs_folder(runs_folder)
    found = open_iteration(folder, run_id, iteration, device)
    scan = None if by_apoz or no_layer_above is not None else scanned(found, limit, ALL)
    time = None
    if faster is not None or within is not None:
        time = TimeModel(found.graph, found.example, batch, folder / FOLDER)
    profile = found.profile(found.spec.profile.examples)
    plan = targets.propose(found.graph, profile, chosen, sensitivity=scan, cost_aware=True, time=time)
    click.echo(tomli_w.dumps({"step": [targets.as_step(plan, profile)]}))
    now, then = cost_of(found.graph), cost_of(found.graph, plan)
    shot, metric = one_shot(found.graph, plan, found.batches(limit), task=found.task), found.task.metric
    click.echo(
        f"# {then.parameters:,} of {now.parameters:,} parameters, {then.macs:,} of {now.macs:,} MACs; "
        f"validation {metric.name} before retraining {metric.text(shot.value)} on {shot.examples} examples"
    )
    if time:
        age = f"; times of layers up to {time.tables.days_old:.0f} days old" if time.tables.days_old >= 1 else ""
        measured_ms = time.measure(removed_groups(found.graph, plan))
        click.echo(
            f"# {measured_ms:.3g} of {time.base_ms:.3g} ms per batch of {batch}, measured "
            f"({time.base_ms / measured_ms:.2f} times faster; {time.predict(plan):.3g} ms predicted{age})"
        )
