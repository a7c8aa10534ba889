"""The command `trimcore sensitivity`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import DEVICE, ITERATION, LIMIT, PATH, RUN, RUNS
from trimcore.cli.output import write_csv
from trimcore.errors import TrimError

FRACTIONS = "1,0.9,0.75,0.5,0.35,0.25,0.15,0.1,0.05"


@click.command()
@RUN
@ITERATION
@LIMIT
@click.option("--fractions", default=FRACTIONS, show_default=True, help="Shares of a layer's neurons to keep.")
@click.option("--csv", "file", type=PATH, help="Write the table to this file.")
@DEVICE
@RUNS
def sensitivity(
    run_id: str, iteration: int | None, limit: int, fractions: str, file: Path | None, device: str,
    runs_folder: Path | None,
) -> None:  # fmt: skip
    """Measure accuracy, or the metric of another task, against the share of each layer's neurons that is kept.

    The other neurons of the layer are held at zero. Nothing is retrained.
    """
    from trimcore.cli.measurement import scan
    from trimcore.training.prepare import open_iteration

    found = open_iteration(runs.runs_folder(runs_folder), run_id, iteration, device)
    measured = scan(found, limit, _shares(fractions))
    table, metric = measured.table(), measured.metric
    values = "accuracy" if metric.is_accuracy else "metric"
    wide = table.pivot(index="layer", columns="kept_fraction", values=values)
    wide = wide.loc[table.layer.drop_duplicates(), sorted(wide.columns, reverse=True)]
    wide.columns = [f"{fraction:.0%}" for fraction in wide.columns]
    click.echo(
        wide.reset_index().to_string(index=False, float_format="{:.1%}".format if metric.percent else "{:.4g}".format)
    )
    if file:
        write_csv(file, table)


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        raise TrimError(f"--fractions needs numbers such as 1,0.5,0.1, not {text!r}") from None
    if not all(0 < share <= 1 for share in shares):
        raise TrimError(f"--fractions needs shares above 0 and up to 1, not {text!r}")
    return shares
