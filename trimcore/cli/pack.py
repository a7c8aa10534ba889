"""The command `trimcore pack`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import PATH, RUNS
from trimcore.errors import TrimError


@click.command()
@click.argument("run_id")
@click.option("--out", type=PATH, required=True, help="The zip file to write.")
@RUNS
def pack(run_id: str, out: Path, runs_folder: Path | None) -> None:
    """Pack an ended run into a zip file for another installation."""
    folder = runs.open_run(runs.runs_folder(runs_folder), run_id)
    try:
        files = runs.pack(folder, out)
    except OSError as error:
        raise TrimError(f"cannot write {str(out)!r}: {error.strerror or error}") from None
    click.echo(f"{out}: {len(files)} files, {out.stat().st_size:,} bytes")
