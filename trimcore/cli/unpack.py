"""The command `trimcore unpack`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import PATH, RUNS


@click.command()
@click.argument("archive", type=PATH)
@RUNS
def unpack(archive: Path, runs_folder: Path | None) -> None:
    """Bring a packed run here: to look at, and to branch from."""
    run_id, left = runs.unpack(archive, runs.runs_folder(runs_folder))
    click.echo(run_id)
    if left:
        click.echo(f"note: left out of the archive: {', '.join(left[:5])}{' ...' if len(left) > 5 else ''}", err=True)
