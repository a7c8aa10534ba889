"""The command `trimcore sweep`."""

from collections import Counter
from pathlib import Path
from typing import Any

import click

from trimcore import runs
from trimcore.cli.options import PATH, RUNS
from trimcore.cli.output import text_table, write_csv
from trimcore.runs import sweeps


@click.command()
@click.argument("sweep_id", required=False)
@click.option("--csv", "file", type=PATH, help="Write the table to this file.")
@click.option("--complete", is_flag=True, help="Launch the runs that are missing, and resume those that did not end.")
@click.option("--stop", is_flag=True, help="Stop all runs of the sweep.")
@RUNS
def sweep(sweep_id: str | None, file: Path | None, complete: bool, stop: bool, runs_folder: Path | None) -> None:
    """List the sweeps, or show, complete or stop one of them."""
    folder = runs.runs_folder(runs_folder)
    if sweep_id is None:
        if file or complete or stop:
            raise click.UsageError("name the sweep; `trimcore sweep` lists them")
        for known, own in _all(folder).items():
            click.echo(f"{known:32} {states_text(folder, own)}")
        return
    if complete and stop:
        raise click.UsageError("choose one of --complete and --stop")
    from trimcore.jobs import sweeps as jobs

    if stop:
        click.echo(f"asked {len(jobs.stop(folder, sweep_id))} runs to stop")
    if complete:
        started, resumed = jobs.complete(folder, sweep_id)
        click.echo(f"launched {len(started)} runs, resumed {len(resumed)}")
    show_sweep(folder, sweep_id, file)


def show_sweep(folder: Path, sweep_id: str, file: Path | None = None) -> None:
    """Print the table of a sweep, and write it to `file`. Raises TrimError."""
    from trimcore.jobs import sweeps as jobs

    table = jobs.table(folder, sweep_id)
    own = sweeps.members(folder, sweep_id)
    click.echo(f"{sweep_id}: {states_text(folder, own)}")
    if not jobs.is_complete(folder, sweep_id) and not any(runs.state_of(folder / run_id).active for run_id in own):
        click.echo("some runs are missing or ended before they were done: --complete launches and resumes them")
    if len(table):
        shown = table.drop(columns=[name for name in table if name in ("reason", "parameters", "nonzero_parameters",
                                                                       "macs", "metric")])  # fmt: skip
        click.echo(text_table(shown.round({"compression": 2, "macs_ratio": 2, "validation_metric": 4, "test_metric": 4,
                                           "seconds": 1})))  # fmt: skip
        for row in table.itertuples():
            if row.state in ("stopped", "failed", "lost"):
                click.echo(f"{row.run}: {row.reason}")
    if file:
        write_csv(file, table)
        click.echo(file)


def states_text(folder: Path, own: dict[str, Any]) -> str:
    """How many runs of a sweep are in which state: `4 of 6 runs, 1 base network: 3 finished, 1 running, 1 queued`."""
    states = Counter(runs.state_of(folder / run_id).state for run_id in own)
    points = sum(member.point is not None for member in own.values())
    bases = len(own) - points
    asked = max((member.points for member in own.values()), default=0)
    text = f"{points} of {asked} runs" + (f", {bases} base network{'s' * (bases > 1)}" if bases else "")
    return f"{text}: {', '.join(f'{count} {state}' for state, count in states.items())}" if own else "no runs"


def _all(folder: Path) -> dict[str, dict[str, Any]]:
    """Every sweep, newest first, with its runs: also those whose launch was interrupted at once, or that lost their
    spec."""
    found = sweeps.all_members(folder)
    return {known: found.get(known, {}) for known in sorted({*sweeps.list_sweeps(folder), *found}, reverse=True)}
