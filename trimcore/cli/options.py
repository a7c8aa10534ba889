"""Arguments and options shared by several commands."""

from pathlib import Path

import click

PATH = click.Path(path_type=Path)
RUN = click.argument("run_id")
RUNS = click.option("--runs", "runs_folder", type=PATH, help="Runs folder. Default: TRIMCORE_RUNS, or runs/.")
ITERATION = click.option("--iteration", type=click.IntRange(min=0), help="Default: the run's result.")
LIMIT = click.option("--limit", type=click.IntRange(min=0), default=500, show_default=True,
                     help="Number of validation examples; 0 means all.")  # fmt: skip


def _use_on_end(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    from trimcore.jobs import on_end

    if value is not None:
        on_end.use(value)


ON_END = click.option("--on-end", metavar="COMMAND", envvar="TRIMCORE_ON_END", expose_value=False, callback=_use_on_end,
                      help="Command to run, or http(s) address to post to, when the run has ended.")  # fmt: skip
DEVICE = click.option("--device", default="auto", show_default=True)
