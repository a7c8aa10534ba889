"""Ask a run to pause or stop, and wait until it has."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.jobs import control

WAIT = 60.0  # seconds


def send(run_id: str, action: str, runs_folder: Path | None) -> None:
    """Send a request and print the resulting state of the run. Raises RunError."""
    folder = runs.runs_folder(runs_folder)
    control.ask(folder, run_id, action)
    status = control.wait_for(folder, run_id, lambda s: not s.active, WAIT)
    click.echo(f"{run_id}: {status.state}. {status.reason}")
