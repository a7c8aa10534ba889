"""The command `trimcore launch`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import ON_END, PATH, RUNS
from trimcore.jobs import control


@click.command()
@click.argument("spec_file", type=PATH)
@ON_END
@RUNS
def launch(spec_file: Path, runs_folder: Path | None) -> None:
    """Run a spec in the background and print the run id."""
    from trimcore import spec

    click.echo(control.launch(spec.load(spec_file), runs.runs_folder(runs_folder)))
