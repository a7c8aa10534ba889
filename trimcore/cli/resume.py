"""The command `trimcore resume`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import ON_END, RUNS
from trimcore.jobs import control


@click.command()
@click.argument("run_id")
@ON_END
@RUNS
def resume(run_id: str, runs_folder: Path | None) -> None:
    """Resume a paused, stopped, failed or lost run."""
    control.resume(runs.runs_folder(runs_folder), run_id)
    click.echo(run_id)
