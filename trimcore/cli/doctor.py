"""The command `trimcore doctor`."""

import sys
from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import RUNS


@click.command()
@RUNS
def doctor(runs_folder: Path | None) -> None:
    """Say what is here, whether it works, and what to do where it does not. Exit code 1 where there is a problem."""
    from trimcore.jobs.diagnosis import examine

    problems = 0
    for finding in examine(runs.runs_folder(runs_folder)):
        click.echo(str(finding))
        problems += finding.level == "problem"
    click.echo(f"{problems or 'no'} problem{'s' if problems != 1 else ''}")
    if problems:
        sys.exit(1)
