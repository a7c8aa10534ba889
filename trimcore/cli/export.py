"""The command `trimcore export`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import PATH, RUNS
from trimcore.errors import TrimError


@click.command()
@click.argument("run_id")
@click.option("--iteration", type=click.IntRange(min=0), help="Default: the run's result.")
@click.option(
    "--format", "format_", type=click.Choice(["state_dict", "safetensors", "sparse", "pt2", "onnx"]),
    default="state_dict", show_default=True,
)  # fmt: skip
@click.option("--out", type=PATH, required=True)
@RUNS
def export(run_id: str, iteration: int | None, format_: str, out: Path, runs_folder: Path | None) -> None:
    """Write a trimmed network to a file and check that the file computes the same outputs."""
    from trimcore.files import checkpoint, export

    if out.is_dir():
        raise TrimError(f"cannot write {str(out)!r}: it is a folder; --out must name a file")
    folder = runs.open_run(runs.runs_folder(runs_folder), run_id)
    made = checkpoint.load(runs.checkpoint_path(folder, runs.result_of(folder) if iteration is None else iteration))
    difference = export.export(made, format_, out)
    click.echo(f"{out}: iteration {made.iteration}, {export.describe_difference(difference)}")
