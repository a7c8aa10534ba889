"""Commands that look before anything is cut: `sensitivity` and `propose`, on an iteration of a run."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import tomli_w

from trimcore import runs
from trimcore.errors import TrimError
from trimcore.generators import finished

if TYPE_CHECKING:
    from trimcore.opened import Opened
    from trimcore.sensitivity import Sensitivity

FRACTIONS = "1,0.9,0.75,0.5,0.35,0.25,0.15,0.1,0.05"
RUN = click.argument("run_id")
ITERATION = click.option("--iteration", type=click.IntRange(min=0), help="Default: the run's result.")
LIMIT = click.option("--limit", type=click.IntRange(min=0), default=500, show_default=True,
                     help="Examples of the validation split; 0 is all.")  # fmt: skip
RUNS = click.option("--runs", "runs_folder", type=click.Path(path_type=Path), help="Runs folder.")
DEVICE = click.option("--device", default="auto")


@click.command()
@RUN
@ITERATION
@LIMIT
@click.option("--fractions", default=FRACTIONS, show_default=True, help="Shares of a layer's neurons that are kept.")
@click.option("--csv", "file", type=click.Path(path_type=Path), help="Write the table here.")
@DEVICE
@RUNS
def sensitivity(
    run_id: str, iteration: int | None, limit: int, fractions: str, file: Path | None, device: str,
    runs_folder: Path | None,
) -> None:  # fmt: skip
    """Accuracy against the share of each layer that is kept, the others held at zero; nothing is retrained."""
    from trimcore.opened import open_iteration

    found = open_iteration(runs.runs_folder(runs_folder), run_id, iteration, device)
    table = _scanned(found, limit, _shares(fractions)).table()
    wide = table.pivot(index="layer", columns="kept_fraction", values="accuracy")
    wide = wide.loc[table.layer.drop_duplicates(), sorted(wide.columns, reverse=True)]
    wide.columns = [f"{fraction:.0%}" for fraction in wide.columns]
    click.echo(wide.reset_index().to_string(index=False, float_format="{:.1%}".format))
    if file:
        try:
            from trimcore.csvtext import as_csv

            runs.write_atomic(file, as_csv(table))
        except OSError as error:
            raise TrimError(f"cannot write {str(file)!r}: {error.strerror or error}") from None


@click.command()
@RUN
@ITERATION
@click.option("--smaller", type=float, help="So many times fewer parameters.")
@click.option("--less-work", type=float, help="So many times fewer MACs.")
@click.option("--no-layer-above", type=float, help="No neuron whose APoZ is above this, 0 to 1.")
@click.option("--accuracy", type=float, help="As small as can be at this accuracy before retraining, 0 to 1.")
@click.option("--measured", is_flag=True, help="Measure first what each layer bears (see `sensitivity`).")
@LIMIT
@DEVICE
@RUNS
def propose(
    run_id: str, iteration: int | None, smaller: float | None, less_work: float | None, no_layer_above: float | None,
    accuracy: float | None, measured: bool, limit: int, device: str, runs_folder: Path | None,
) -> None:  # fmt: skip
    """Print a [[step]] that meets a target, what it comes to, and its accuracy before retraining."""
    from trimcore import targets
    from trimcore.costs import cost_of
    from trimcore.opened import open_iteration
    from trimcore.sensitivity import FRACTIONS as ALL
    from trimcore.sensitivity import one_shot

    asked: dict[Callable[[float], targets.Target], float | None] = {
        targets.Smaller: smaller, targets.LessWork: less_work, targets.NoLayerAbove: no_layer_above,
        targets.Accuracy: accuracy,
    }  # fmt: skip
    chosen = [kind(value) for kind, value in asked.items() if value is not None]
    if len(chosen) != 1:
        raise TrimError("name one target: --smaller, --less-work, --no-layer-above or --accuracy")
    found = open_iteration(runs.runs_folder(runs_folder), run_id, iteration, device)
    scan = _scanned(found, limit, ALL) if measured or accuracy is not None else None
    profile = found.profile(found.spec.profile.examples)
    plan = targets.propose(found.graph, profile, chosen[0], sensitivity=scan, cost_aware=True)
    click.echo(tomli_w.dumps({"step": [targets.as_step(plan, profile)]}))
    now, then = cost_of(found.graph), cost_of(found.graph, plan)
    shot = one_shot(found.graph, plan, found.batches(limit))
    click.echo(
        f"# {then.parameters:,} of {now.parameters:,} parameters, {then.macs:,} of {now.macs:,} MACs; validation "
        f"accuracy before retraining {shot.accuracy:.2%} on {shot.examples} examples"
    )


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        raise TrimError(f"--fractions takes numbers such as 1,0.5,0.1, not {text!r}") from None
    if not all(0 < share <= 1 for share in shares):
        raise TrimError(f"--fractions are shares above 0 and up to 1, not {text!r}")
    return shares


def _scanned(found: "Opened", limit: int, fractions: Sequence[float]) -> "Sensitivity":
    from trimcore.sensitivity import scanning

    scan = scanning(found.graph, found.profile(found.spec.profile.examples), found.batches(limit), fractions=fractions)
    with click.progressbar(length=1000, label="measuring", file=sys.stderr, width=30) as bar:
        return finished(scan, lambda seen: bar.update(round(1000 * seen[0] / seen[1]) - bar.pos))
