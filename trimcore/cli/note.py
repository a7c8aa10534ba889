"""The command `trimcore note`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trimcore import runs
from trimcore.cli.options import RUNS


@click.command()
@click.argument("run_id")
@click.option("--name", help="Name of the run.")
@click.option("--note", help="Free text about the run.")
@click.option("--tag", "tags", multiple=True, help="A tag to find the run by; repeatable.")
@RUNS
def note(run_id: str, name: str | None, note: str | None, tags: tuple[str, ...], runs_folder: Path | None) -> None:
    """Set the name, note or tags of a run; without options, show them. An empty text removes an entry."""
    folder = runs.runs_folder(runs_folder)
    notes = runs.notes_of(runs.open_run(folder, run_id))
    if name is not None or note is not None or tags:
        given: dict[str, Any] = {"name": name, "note": note, "tags": tags or None}
        notes = replace(notes, **{key: value for key, value in given.items() if value is not None})
        runs.write_notes(folder, run_id, notes)
    click.echo(f"name: {notes.name}\ntags: {', '.join(notes.tags)}\n{notes.note}")
