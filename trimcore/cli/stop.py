"""The command `trimcore stop`."""

from pathlib import Path

import click

from trimcore.cli.options import RUNS
from trimcore.cli.request import send


@click.command()
@click.argument("run_id")
@RUNS
def stop(run_id: str, runs_folder: Path | None) -> None:
    """Stop a run at its next batch."""
    send(run_id, "stop", runs_folder)
