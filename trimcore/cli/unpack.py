"""The command `trimcore unpack`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import PATH, RUNS


@click.command()
@click.argument("archive", type=PATH)
@RUNS
def unpack(archive: Path, runs_folder: Path | None) -> None:
    """Unpack a packed run, to view it and branch from it."""
    run_id, ignored = runs.unpack(archive, runs.runs_folder(runs_folder))
    click.echo(run_id)
    if ignored:
        more = " ..." if len(ignored) > 5 else ""
        click.echo(f"note: ignored in the archive: {', '.join(ignored[:5])}{more}", err=True)
