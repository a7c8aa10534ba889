"""The command `trimcore export`."""

from pathlib import Path

import click

from trimcore import runs
from trimcore.cli.options import PATH, RUNS
from trimcore.errors import TrimError

INT8 = "onnx-int8"


@click.command()
@click.argument("run_id")
@click.option("--iteration", type=click.IntRange(min=0), help="Default: the run's result.")
@click.option(
    "--format", "format_", type=click.Choice(["state_dict", "safetensors", "sparse", "pt2", "onnx", INT8]),
    default="state_dict", show_default=True,
)  # fmt: skip
@click.option("--out", type=PATH, required=True)
@click.option("--script", is_flag=True, help="Also write scripts that load and time the file without trimcore.")
@click.option("--time", "timed", is_flag=True, help="Time the network in PyTorch and in other runtimes.")
@click.option("--csv", "file", type=PATH, help=f"Write the table of {INT8} to this file.")
@RUNS
def export(
    run_id: str, iteration: int | None, format_: str, out: Path, script: bool, timed: bool, file: Path | None,
    runs_folder: Path | None,
) -> None:  # fmt: skip
    """Write a trimmed network to a file and check that the file computes the same outputs.

    onnx-int8 is calibrated on validation images of the run's data. Its accuracy, bytes and milliseconds are printed
    beside those in float, for the base network, too.
    """
    from trimcore.files import checkpoint, export, scripts

    if out.is_dir():
        raise TrimError(f"cannot write {str(out)!r}: it is a folder; --out must name a file")
    if file and format_ != INT8:
        raise TrimError(f"--csv writes the table of --format {INT8}, not of {format_}")
    if script:
        scripts.check_scripts(format_, out)
    runs_folder = runs.runs_folder(runs_folder)
    folder = runs.open_run(runs_folder, run_id)
    if format_ == INT8:
        from trimcore.cli.int8 import export_int8

        made = export_int8(runs_folder, run_id, iteration, out, file)
    else:
        made = checkpoint.load(runs.checkpoint_path(folder, runs.result_of(folder) if iteration is None else iteration))
        difference = export.export(made, format_, out)
        click.echo(f"{out}: iteration {made.iteration}, {export.describe_difference(difference)}")
    if script:
        for path in scripts.write_scripts(made, format_, out):
            click.echo(path)
    if timed:
        from trimcore.cli.runtimes import show_runtimes

        show_runtimes(made)
