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
    """Run a spec in the background and print the run id. With [sweep], launch its runs and print the sweep's id."""
    from trimcore import spec
    from trimcore.jobs import sweeps

    values, folder = spec.read(spec_file), runs.runs_folder(runs_folder)
    click.echo(sweeps.launch(values, folder) if "sweep" in values else control.launch(spec.parse(values), folder))
