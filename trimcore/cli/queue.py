"""The command `trimcore queue`."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from trimcore import runs
from trimcore.cli.options import RUNS
from trimcore.errors import TrimError
from trimcore.jobs import control, forecast, reordering, restoring
from trimcore.jobs.queue import Entry, by_device, entries

UNKNOWN = "-"
WAIT = 10.0  # seconds for a run that is taken out to end
ACTIONS: dict[str, Callable[[Path, str], None]] = {
    **{where: partial(reordering.move, where=where) for where in reordering.MOVES},
    "hold": reordering.hold, "release": reordering.release, "take_out": reordering.take_out,
}  # fmt: skip


def _option(name: str, text: str) -> Callable[[Any], Any]:
    return click.option(f"--{name}", metavar="RUN", help=text)


@click.command()
@_option("first", "Move a waiting run to the front.")
@_option("up", "Move it past the run before it.")
@_option("down", "Move it behind the run after it.")
@_option("last", "Move it to the end.")
@_option("hold", "Let it wait while others pass it, until it is released.")
@_option("release", "Give a held run its turn again.")
@_option("take-out", "Stop it before it starts.")
@click.option("--restore", is_flag=True, help="Put runs back that waited when the machine was restarted.")
@RUNS
def queue(runs_folder: Path | None, restore: bool, **asked: str | None) -> None:
    """Show what runs and what waits on each device. An option changes one thing before that."""
    folder = runs.runs_folder(runs_folder)
    changes = [(action, run_id) for action, run_id in asked.items() if run_id is not None]
    if len(changes) + restore > 1:
        raise TrimError("the queue changes one step at a time: give only one of the options")
    for action, run_id in changes:
        ACTIONS[action](folder, run_id)
        if action == "take_out":
            control.wait_for(folder, run_id, lambda status: not status.active, WAIT)
    if restore:
        back = restoring.restore(folder)
        restoring.record_ends(folder)
        click.echo(f"put back: {', '.join(back)}" if back else "there is no run to put back")
    _show(folder, time.time())


def _show(folder: Path, now: float) -> None:
    found = entries(folder)
    starts = forecast.expected_starts(found, now)
    if not found:
        click.echo("nothing runs or waits")
    for device, here in by_device(found).items():
        click.echo(f"{device:44} {'state':9} {'since':12} expected")
        waiting = 0
        for entry in here:
            waiting += entry.waits
            click.echo(f"{f'{waiting}.' if entry.waits else '':3} {_line(entry, starts.get(entry.run_id), now)}")
    if lost := restoring.restorable(folder):
        click.echo(f"lost while they waited: {', '.join(lost)}; `trimcore queue --restore` puts them back")


def _line(entry: Entry, start: float | None, now: float) -> str:
    expected, since = (start, entry.queued_at) if entry.waits else (forecast.expected_end(entry, now), entry.started_at)
    coming = UNKNOWN if expected is None else f"{'starts' if entry.waits else 'ends'} {clock(expected, now)}"
    return f"{entry.run_id:40} {entry.state:9} {clock(since, now):12} {coming}"


def clock(at: float | None, now: float) -> str:
    """A time of day here, with the date unless it is today's: `14:05`, `03-31 14:05`."""
    if at is None:
        return UNKNOWN
    then, today = time.localtime(at), time.localtime(now)
    return time.strftime("%H:%M" if then[:3] == today[:3] else "%m-%d %H:%M", then)
