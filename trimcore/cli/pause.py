"""The command `trimcore pause`."""

from pathlib import Path

import click

from trimcore.cli.options import RUNS
from trimcore.cli.request import send


@click.command()
@click.argument("run_id")
@RUNS
def pause(run_id: str, runs_folder: Path | None) -> None:
    """Pause a run at the end of its epoch; `resume` continues it."""
    send(run_id, "pause", runs_folder)
