"""Arguments and options shared by several commands."""

from pathlib import Path

import click

PATH = click.Path(path_type=Path)
RUN = click.argument("run_id")
RUNS = click.option("--runs", "runs_folder", type=PATH, help="Runs folder. Default: TRIMCORE_RUNS, or runs/.")
ITERATION = click.option("--iteration", type=click.IntRange(min=0), help="Default: the run's result.")
LIMIT = click.option("--limit", type=click.IntRange(min=0), default=500, show_default=True,
                     help="Number of validation examples; 0 means all.")  # fmt: skip
DEVICE = click.option("--device", default="auto", show_default=True)
