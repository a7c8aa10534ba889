"""The command `trimcore shapes`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import ITERATION, PATH, RUN, RUNS
from trimcore.cli.output import text_table, write_csv


@click.command()
@RUN
@ITERATION
@click.option("--csv", "file", type=PATH, help="Write the table to this file.")
@RUNS
def shapes(run_id: str, iteration: int | None, file: Path | None, runs_folder: Path | None) -> None:
    """Show every layer with its shapes, parameters and MACs, before the first cut and after an iteration."""
    from trimcore.graph import shape_table
    from trimcore.training.prepare import open_network

    folder = runs.open_run(runs.runs_folder(runs_folder), run_id)
    chosen = runs.result_of(folder) if iteration is None else iteration
    before, after = (
        shape_table.layer_shapes(open_network(runs.checkpoint_path(folder, number))[1]) for number in (0, chosen)
    )
    table = shape_table.shape_table(before, after)
    click.echo(text_table(shape_table.arrows(table)))
    if file:
        write_csv(file, table)
