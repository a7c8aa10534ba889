"""The command `trimcore delete`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import RUNS


@click.command()
@click.argument("run_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@RUNS
def delete(run_id: str, yes: bool, runs_folder: Path | None) -> None:
    """Take a run away for good: not an active one, nor one that others began from."""
    folder = runs.runs_folder(runs_folder)
    runs.open_run(folder, run_id)
    if yes or click.confirm(f"delete {run_id} with its checkpoints for good?", abort=True):
        runs.delete(folder, run_id)
        click.echo(f"{run_id} is deleted")
