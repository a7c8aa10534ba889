"""The command `trimcore run`."""

import sys
from pathlib import Path
from typing import Any

import click

from trimcore import runs
from trimcore.cli.options import ON_END, PATH, RUNS
from trimcore.cli.output import show_table
from trimcore.errors import TrimError
from trimcore.jobs import control, on_end
from trimcore.runs.events import Event
from trimcore.system import logs


@click.command()
@click.argument("spec_file", type=PATH)
@ON_END
@RUNS
def run(spec_file: Path, runs_folder: Path | None) -> None:
    """Run a spec in the foreground, with a progress bar."""
    from trimcore import spec
    from trimcore.jobs import worker

    loaded = spec.load(spec_file)
    folder = control.prepare_run(loaded, runs.runs_folder(runs_folder))
    click.echo(folder.name)
    if loaded.devices.count > 1:
        outcome = worker.carry_out(folder)  # the first process prints its log instead
    else:
        with click.progressbar(length=1000, label="starting", file=sys.stderr, width=30) as bar:
            watch, log = (lambda event: _advance(bar, event)), folder / "log.txt"
            outcome = worker.carry_out(folder, watch=watch, log=log)
    with logs.logging_to(folder / "log.txt"):
        on_end.end(folder, **outcome, code=int(outcome["state"] == "failed"))
    if outcome["state"] == "failed":
        raise TrimError(f"run {folder.name} failed: {outcome['reason']}")
    show_table(folder)
    click.echo(f"{outcome['state']}: {outcome['reason']}")


def _advance(bar: Any, event: Event) -> None:
    if event.kind == "started":
        for text in (event.data["trimmable"], *event.data["found"]):
            click.echo(text, err=True)
    if event.kind == "note":
        click.echo(event.data["text"], err=True)
    if event.kind == "progress":
        d = event.data
        epoch = f", epoch {d['epoch']}/{d['epochs']}" if d["epochs"] else ""
        bar.label = f"{d['phase']} {d['iteration']}{epoch}"
        bar.update(max(0, round(d["fraction"] * 1000) - bar.pos))
