"""The command `trimcore show`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import RUNS
from trimcore.cli.output import show_table


@click.command()
@click.argument("run_id")
@RUNS
def show(run_id: str, runs_folder: Path | None) -> None:
    """Show the state and the iterations of a run."""
    folder = runs.open_run(runs.runs_folder(runs_folder), run_id)
    status = runs.state_of(folder)
    click.echo(
        f"{run_id}: {status.state}{' (stalled)' if status.stalled else ''}, {status.progress:.0%}. {status.reason}"
    )
    show_table(folder)
