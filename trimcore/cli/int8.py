"""Export to INT8, and print what that costs and saves."""

from collections.abc import Callable
from pathlib import Path

import click

from trimcore import runs
from trimcore.errors import TrimError
from trimcore.evaluation.quantized import BATCH, calibration_images, check_task, compare, warnings_of
from trimcore.files import checkpoint
from trimcore.files.checkpoint import Checkpoint
from trimcore.files.export import INT8, export
from trimcore.system.files import write_atomic
from trimcore.tables.csv_text import as_csv
from trimcore.training.prepare import open_iteration


def export_int8(runs_folder: Path, run_id: str, iteration: int | None, out: Path, csv: Path | None) -> Checkpoint:
    """Write an iteration of a run as an INT8 ONNX file, measure it beside the float network and the base network, and
    print the table. csv: where the table is written as well. Returns the checkpoint of the iteration.

    Raises TrimError for a network or a task that INT8 does not fit.
    """
    found = open_iteration(runs_folder, run_id, iteration)
    check_task(found.task)
    export(found.made, INT8, out, calibration_images(found.data))
    click.echo(f"{out}: iteration {found.made.iteration}, gives finite scores of the right shape")
    networks, name = {"base": found.made}, "base"
    if found.made.iteration:
        name = "trimmed"
        base = checkpoint.load(runs.checkpoint_of(runs_folder, run_id, 0))
        networks = {"base": base, name: found.made}
    table = compare(networks, found.data, {name: out})
    shown = table.drop(columns="batch").rename(columns={"latency_1_ms": "ms", "latency_ms": f"ms, batch {BATCH}"})
    formats: dict[str, Callable[..., str]] = {"accuracy": "{:.2%}".format, "bytes": "{:,}".format}
    formats |= {column: "{:.3f}".format for column in map(str, shown) if column.startswith("ms")}
    click.echo(shown.to_string(index=False, formatters=formats))
    for line in warnings_of(table):
        click.echo(f"warning: {line}", err=True)
    if csv:
        try:
            write_atomic(csv, as_csv(table))
        except OSError as error:
            raise TrimError(f"cannot write {str(csv)!r}: {error.strerror or error}") from None
    return found.made
