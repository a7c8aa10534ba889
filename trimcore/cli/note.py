"""The command `trimcore note`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trimcore import runs
from trimcore.cli.options import RUNS


@click.command()
@click.argument("run_id")
@click.option("--name", help="What the run is called.")
@click.option("--note", help="A text on it.")
@click.option("--tag", "tags", multiple=True, help="Words to find it by; each use of the option is one.")
@RUNS
def note(run_id: str, name: str | None, note: str | None, tags: tuple[str, ...], runs_folder: Path | None) -> None:
    """Write a name, a note or tags on a run, or show what is written. An empty text takes one away."""
    folder = runs.runs_folder(runs_folder)
    found = runs.notes_of(runs.open_run(folder, run_id))
    if name is not None or note is not None or tags:
        asked: dict[str, Any] = {"name": name, "note": note, "tags": tags or None}
        found = replace(found, **{key: value for key, value in asked.items() if value is not None})
        runs.write_notes(folder, run_id, found)
    click.echo(f"name: {found.name}\ntags: {', '.join(found.tags)}\n{found.note}")
