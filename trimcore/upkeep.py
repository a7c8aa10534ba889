"""Commands around the runs: `doctor`, and `pack` and `unpack`, which take a run elsewhere."""

import sys
from pathlib import Path

import click

from trimcore import runs
from trimcore.errors import TrimError

PATH = click.Path(path_type=Path)
RUNS = click.option("--runs", "runs_folder", type=PATH, help="Runs folder (TRIMCORE_RUNS, or runs/).")


@click.command()
@RUNS
def doctor(runs_folder: Path | None) -> None:
    """Say what is here, whether it works, and what to do where it does not. Exit code 1 where there is a problem."""
    from trimcore.doctor import examine

    problems = 0
    for finding in examine(runs.runs_folder(runs_folder)):
        click.echo(str(finding))
        problems += finding.level == "problem"
    click.echo(f"{problems or 'no'} problem{'s' if problems != 1 else ''}")
    if problems:
        sys.exit(1)


@click.command()
@click.argument("run_id")
@click.option("--out", type=PATH, required=True, help="The zip file to write.")
@RUNS
def pack(run_id: str, out: Path, runs_folder: Path | None) -> None:
    """Write a run that has ended as one zip file, to be opened elsewhere."""
    from trimcore import parcel

    folder = runs.open_run(runs.runs_folder(runs_folder), run_id)
    try:
        files = parcel.pack(folder, out)
    except OSError as error:
        raise TrimError(f"cannot write {str(out)!r}: {error.strerror or error}") from None
    click.echo(f"{out}: {len(files)} files, {out.stat().st_size:,} bytes")


@click.command()
@click.argument("archive", type=PATH)
@RUNS
def unpack(archive: Path, runs_folder: Path | None) -> None:
    """Bring a packed run here: to look at, and to branch from."""
    from trimcore import parcel

    run_id, left = parcel.unpack(archive, runs.runs_folder(runs_folder))
    click.echo(run_id)
    if left:
        click.echo(f"note: left out of the archive: {', '.join(left[:5])}{' ...' if len(left) > 5 else ''}", err=True)
