"""Output shared by commands: tables as text, and CSV files."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from trimcore import runs
from trimcore.errors import TrimError
from trimcore.system.files import write_atomic


def show_table(folder: Path) -> None:
    """Print the paper's table of a run, if an iteration has finished."""
    from trimcore import tables

    events = list(runs.read_events(folder))
    if tables.latest(events, "iteration"):
        click.echo(text_table(tables.paper_table(events)))


def text_table(frame: Any, percent: Collection[str] = ()) -> str:
    """A data frame as text, with the columns in `percent` as percentages."""
    formats = dict.fromkeys(percent, "{:.1%}".format)
    text: str = frame.to_string(index=False, na_rep="", formatters=formats)
    return text


def write_csvs(folder: Path, texts: dict[str, str]) -> None:
    """Write each text to its file name in `folder` and print the path. Raises TrimError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomic(folder / name, text)
            click.echo(folder / name)
    except OSError as error:
        raise TrimError(f"cannot write to {str(folder)!r}: {error.strerror or error}") from None


def write_csv(file: Path, table: Any) -> None:
    """Write a data frame to one file. Raises TrimError if that fails."""
    from trimcore.tables.csv_text import as_csv

    try:
        write_atomic(file, as_csv(table))
    except OSError as error:
        raise TrimError(f"cannot write {str(file)!r}: {error.strerror or error}") from None
