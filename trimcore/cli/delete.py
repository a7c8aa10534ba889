"""The command `trimcore delete`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import RUNS


@click.command()
@click.argument("run_id")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@RUNS
def delete(run_id: str, yes: bool, runs_folder: Path | None) -> None:
    """Delete a run permanently. Active runs and runs with branches cannot be deleted."""
    folder = runs.runs_folder(runs_folder)
    runs.open_run(folder, run_id)
    if yes or click.confirm(f"permanently delete {run_id} and its checkpoints?", abort=True):
        runs.delete(folder, run_id)
        click.echo(f"deleted {run_id}")
