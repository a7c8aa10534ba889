"""The command `trimcore changes`."""

import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import click

from trimcore import runs
from trimcore.cli.options import DEVICE, ITERATION, PATH, RUN, RUNS
from trimcore.cli.output import write_csvs
from trimcore.errors import TrimError

MOST_PAIRS = 5  # printed


@click.command()
@RUN
@ITERATION
@click.option("--split", type=click.Choice(["test", "validation"]), default="test", show_default=True)
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Number of images of the split; 0 means all.")
@click.option("--corruptions", is_flag=True, help="Also measure accuracy and calibration on corrupted images.")
@click.option("--out", type=PATH, required=True, help="Folder for the CSVs.")
@DEVICE
@RUNS
def changes(
    run_id: str, iteration: int | None, split: str, limit: int, corruptions: bool, out: Path, device: str,
    runs_folder: Path | None,
) -> None:  # fmt: skip
    """Show what a trimmed network answers differently from the base, for classifiers of images.

    changes.csv has a row for each image, those with another answer first.
    """
    from trimcore.compute.generators import finished
    from trimcore.evaluation import changes
    from trimcore.evaluation import corruptions as corrupted
    from trimcore.tables.csv_text import as_csv
    from trimcore.tasks.classification import Classification
    from trimcore.training.prepare import open_iteration, open_network

    if out.exists() and not out.is_dir():
        raise TrimError(f"cannot write to {str(out)!r}: it is a file; --out must name a folder")
    found = open_iteration(runs.runs_folder(runs_folder), run_id, iteration, device)
    if not isinstance(found.task, Classification):
        raise TrimError(f"answers are compared for a classification; this run's task is {found.task.name}")
    base = open_network(found.path.with_name(runs.checkpoint_path(Path(), 0).name), found.device, found.spec.removable)
    networks = base[1].model, found.graph.model
    used = getattr(found.data, split).subset(limit)

    def run(steps: Callable[..., Generator[int, None, Any]], label: str) -> Any:
        with click.progressbar(length=len(used), label=label, file=sys.stderr, width=30) as bar:
            return finished(steps(*networks, used, found.data, found.device), lambda seen: bar.update(seen - bar.pos))

    table = changes.named(run(changes.comparing, "answering"), used, found.data)
    texts = {"changes.csv": as_csv(table)}
    if corruptions:
        measured = run(corrupted.measuring, "corrupting")
        texts["corruptions.csv"] = as_csv(measured)
    write_csvs(out, texts)
    counts = changes.kinds(table)
    click.echo(f"iteration {found.made.iteration} answers {sum(counts.values())} of {len(table)} {split} images "
               "differently from the base: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))  # fmt: skip
    for pair in changes.pairs(table).head(MOST_PAIRS).itertuples():
        click.echo(f"  {pair.base_answer} -> {pair.trimmed_answer}: {pair.images}")
    if corruptions:
        click.echo(measured.to_string(index=False, float_format="{:.4g}".format))
