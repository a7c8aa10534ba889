"""The command `trimcore list`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import RUNS


@click.command("list")
@RUNS
def list_runs(runs_folder: Path | None) -> None:
    """List the runs, newest first."""
    folder = runs.runs_folder(runs_folder)
    for run_id in runs.list_runs(folder):
        status = runs.state_of(folder / run_id)
        click.echo(f"{run_id:40} {status.state:9} {status.progress:4.0%}  {status.reason}")
