"""The command `trimcore run`."""

import sys
from pathlib import Path
from typing import Any

import click

from trimcore import runs
from trimcore.cli.options import ON_END, PATH, RUNS
from trimcore.cli.output import show_table
from trimcore.cli.sweep import show_sweep
from trimcore.errors import TrimError
from trimcore.jobs import control, on_end
from trimcore.runs.events import Event
from trimcore.runs.requests import INTERRUPTED
from trimcore.system import logs


@click.command()
@click.argument("spec_file", type=PATH)
@ON_END
@RUNS
def run(spec_file: Path, runs_folder: Path | None) -> None:
    """Run a spec in the foreground, with a progress bar. With [sweep], its runs follow one another."""
    from trimcore import spec

    values, root = spec.read(spec_file), runs.runs_folder(runs_folder)
    if "sweep" in values:
        _run_sweep(values, root)
        return
    folder = control.prepare_run(spec.parse(values), root)
    outcome = _carry_out(folder)
    if outcome["state"] == "failed":
        raise TrimError(f"run {folder.name} failed: {outcome['reason']}")
    show_table(folder)
    click.echo(f"{outcome['state']}: {outcome['reason']}")


def _run_sweep(values: dict[str, Any], root: Path) -> None:
    """Each run is made when its turn comes, so an interrupted sweep can be completed like an interrupted launch."""
    from trimcore.jobs import sweep_rule, sweeps

    sweep_id, failed = sweeps.create(values, root), 0
    click.echo(sweep_id)
    for folder in sweeps.prepared(root, sweep_id):
        if ended := sweep_rule.verdict(folder):
            on_end.end(folder, **ended)
            continue
        outcome = _carry_out(folder)
        failed += outcome["state"] == "failed"
        if outcome["reason"] == INTERRUPTED:
            break
    show_sweep(root, sweep_id)
    if failed:
        raise TrimError(f"{failed} runs of {sweep_id} failed")


def _carry_out(folder: Path) -> dict[str, Any]:
    """Carry out a run in this process. Returns its outcome."""
    from trimcore import spec
    from trimcore.jobs import worker

    click.echo(folder.name)
    if spec.load(folder / "spec.toml").devices.count > 1:
        outcome = worker.carry_out(folder)  # the first process prints its log instead
    else:
        with click.progressbar(length=1000, label="starting", file=sys.stderr, width=30) as bar:
            watch, log = (lambda event: _advance(bar, event)), folder / "log.txt"
            outcome = worker.carry_out(folder, watch=watch, log=log)
    with logs.logging_to(folder / "log.txt"):
        on_end.end(folder, **outcome, code=int(outcome["state"] == "failed"))
    return outcome


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
