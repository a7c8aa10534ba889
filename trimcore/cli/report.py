"""The command `trimcore report`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import PATH, RUNS
from trimcore.cli.output import write_csvs
from trimcore.errors import TrimError


@click.command()
@click.argument("run_id")
@click.option("--out", type=PATH, required=True, help="Folder for the CSVs.")
@RUNS
def report(run_id: str, out: Path, runs_folder: Path | None) -> None:
    """Write the CSVs of a run."""
    from trimcore import tables

    events = list(runs.read_events(runs.open_run(runs.runs_folder(runs_folder), run_id)))
    if not tables.latest(events, "iteration"):
        raise TrimError(f"run {run_id!r} has no finished iteration yet, so there is nothing to report")
    write_csvs(out, tables.csv_texts(events))
