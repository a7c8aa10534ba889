"""The command `trimcore branch`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import ON_END, PATH, RUNS
from trimcore.jobs import control


@click.command()
@click.argument("run_id")
@click.argument("spec_file", type=PATH)
@click.option("--iteration", type=click.IntRange(min=0), required=True, help="Iteration to branch from.")
@ON_END
@RUNS
def branch(run_id: str, spec_file: Path, iteration: int, runs_folder: Path | None) -> None:
    """Run a spec in the background, starting from an iteration of another run."""
    from trimcore import spec
    from trimcore.jobs import sweeps

    values, folder = spec.read(spec_file), runs.runs_folder(runs_folder)
    values = {**values, "parent": {"run": run_id, "iteration": iteration}}
    click.echo(sweeps.launch(values, folder) if "sweep" in values else control.launch(spec.parse(values), folder))
