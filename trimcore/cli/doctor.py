"""The command `trimcore doctor`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import RUNS


@click.command()
@RUNS
def doctor(runs_folder: Path | None) -> None:
    """Check the installation and the runs, and say how to fix each problem. Exits with code 1 if there is one."""
    from trimcore.jobs.diagnosis import examine

    problems = 0
    for finding in examine(runs.runs_folder(runs_folder)):
        click.echo(str(finding))
        problems += finding.level == "problem"
    click.echo(f"{problems or 'no'} problem{'s' if problems != 1 else ''}")
    if problems:
        raise click.exceptions.Exit(1)
