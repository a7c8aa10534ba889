"""The command line: everything that the page can do. Exit code 0, or 2 with one line that says what is wrong."""

import os
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimcore import before, control, runs, upkeep
from trimcore.errors import TrimError
from trimcore.events import Event
from trimcore.worker import ENVIRONMENT
from trimcore.zeros import DEFAULT_TOLERANCE, counted_as_zero

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar
    from pandas import DataFrame

PATH = click.Path(path_type=Path)
RUNS = click.option("--runs", "runs_folder", type=PATH, help="Runs folder (TRIMCORE_RUNS, or runs/).")
WAIT = 60.0  # seconds that stop and pause wait for a run to follow


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Trim neural networks by APoZ: profile, prune, retrain, look."""


def main() -> int:
    """Run the command line; a mistake of the user is one line on stderr and exit code 2."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)  # before torch starts its threads
    try:
        cli.main(prog_name="trimcore", standalone_mode=False)
        return 0
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help())
    except click.ClickException as error:
        print(f"trimcore: {' '.join(error.format_message().split())}", file=sys.stderr)
    except TrimError as error:
        print(f"trimcore: {error}", file=sys.stderr)
    except click.Abort:
        print("trimcore: interrupted", file=sys.stderr)
    except SystemExit as end:  # of `doctor`; and how click ends when its reader has left: `trimcore list | head`
        return end.code if isinstance(end.code, int) and sys.argv[1:2] == ["doctor"] else 0
    return 2


# --- what there is ---


@cli.command()
def models() -> None:
    """List the models."""
    from trimcore.models import listed, refused

    for name, line in listed().items():
        click.echo(f"{name:20} {line}")
    for line in refused():
        click.echo(f"note: {line}", err=True)


@cli.command()
def datasets() -> None:
    """List the data sets."""
    from trimcore.data import datasets as known

    for name, line in known().items():
        click.echo(f"{name:18} {line}")


@cli.command()
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """List the specs that come with the package, or print one: `presets NAME > spec.toml`."""
    from trimcore import presets as known
    from trimcore.spec import dumps

    if name:
        click.echo(dumps(known.preset(name)), nl=False)
    else:
        for entry in known.names():
            click.echo(f"{entry:22} {known.preset(entry).name}")


@cli.command()
@click.option("--model", required=True, help="A name from `models`, or package.module:function.")
@click.option("--data", required=True, help="A name from `datasets`.")
@click.option("--weights", default="", help="A checkpoint; without one the network has new weights.")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Examples of the validation split; 0 is all.")
@click.option("--device", default="auto")
@click.option("--seed", type=click.IntRange(min=0), default=0)
@click.option(
    "--tolerance", type=click.FloatRange(0, 1), default=DEFAULT_TOLERANCE, show_default=True,
    help="GELU, SiLU and the like count as zero up to this share of their root mean square.",
)  # fmt: skip
@click.option("--option", "options", multiple=True, metavar="NAME=N", help="Of the model: k=4, width=1000.")
@click.option("--csv", "folder", type=PATH, help="Write layers.csv and neurons.csv here.")
def profile(
    model: str, data: str, weights: str, limit: int, device: str, seed: int, tolerance: float, options: tuple[str, ...],
    folder: Path | None,
) -> None:  # fmt: skip
    """Count the zeros of every layer on the validation split, and the maxima of maxout units on the train split."""
    from trimcore import spec, tables
    from trimcore.loop import trim

    asked = spec.parse({
        "model": model, "data": data, "seed": seed, "device": device, "options": _numbers(options),
        "base": {"weights": weights, "epochs": 0}, "profile": {"examples": limit, "tolerance": tolerance},
    })  # fmt: skip
    events = []
    with click.progressbar(length=1000, label="profiling", file=sys.stderr, width=30) as bar:
        for event in trim(asked):
            if event.recorded:
                events.append({"kind": event.kind, **event.data})
            else:
                bar.update(max(0, round(1000 * event.data["step"] / event.data["steps"]) - bar.pos))
    seen = next(e for e in events if e["kind"] == "profiled")
    if not weights:
        click.echo("note: no --weights, so this is an untrained network", err=True)
    click.echo(f"{seen['examples']} examples in {seen['seconds']:.2f} s")
    shown = tables.layers(events)[["layer", "kind", "width", "apoz_mean", "apoz_std", "apoz_min", "apoz_max"]]
    if any(layer["tolerance"] for layer in seen["layers"].values()):
        words = [counted_as_zero(layer["tolerance"], layer["limits"]) for layer in seen["layers"].values()]
        shown = shown.assign(zeros=words)
    click.echo(_text_table(shown, percent=[c for c in map(str, shown.columns) if c.startswith("apoz")]))
    for name, units in seen["units"].items():
        never = sum(count == 0 for unit in units["counts"] for count in unit)
        total = units["shares"] * units["examples"] * units["positions"]
        least = sum(min(unit) for unit in units["counts"]) / total / len(units["counts"])
        click.echo(
            f"{name}: {len(units['counts'])} maxout units of {units['k']}; on {units['examples']} training examples "
            f"the least relevant neuron of a unit is its maximum {least:.1%} of the time, {never} neurons never are"
        )
    if folder:
        texts = tables.csv_texts(events)
        _write_csvs(folder, {name: texts[name] for name in ("layers.csv", "neurons.csv")})


cli.add_command(before.sensitivity)
cli.add_command(before.propose)
cli.add_command(upkeep.doctor)
cli.add_command(upkeep.pack)
cli.add_command(upkeep.unpack)


def _numbers(options: tuple[str, ...]) -> dict[str, int]:
    pairs = [text.partition("=")[::2] for text in options]
    if wrong := [name for name, number in pairs if not number.isdecimal()]:
        raise TrimError(f"--option {wrong[0]} needs a whole number, as in --option k=4")
    return {name: int(number) for name, number in pairs}


# --- runs ---


@cli.command()
@click.argument("spec_file", type=PATH)
@RUNS
def run(spec_file: Path, runs_folder: Path | None) -> None:
    """Carry out a spec in the foreground, with a progress bar."""
    from trimcore import spec, worker

    asked = spec.load(spec_file)
    folder = control.prepare_run(asked, runs.runs_folder(runs_folder))
    click.echo(folder.name)
    if asked.devices.count > 1:
        outcome = worker.carry_out(folder)  # the first of the processes shows its log
    else:
        with click.progressbar(length=1000, label="starting", file=sys.stderr, width=30) as bar:
            watch, log = (lambda event: _advance(bar, event)), folder / "log.txt"
            outcome = worker.carry_out(folder, watch=watch, log=log)
    runs.write_exit(folder, **outcome, code=int(outcome["state"] == "failed"))
    if outcome["state"] == "failed":
        raise TrimError(f"run {folder.name} failed: {outcome['reason']}")
    _show_table(folder)
    click.echo(f"{outcome['state']}: {outcome['reason']}")


def _advance(bar: "ProgressBar[int]", event: Event) -> None:
    if event.kind == "progress":
        d = event.data
        epoch = f", epoch {d['epoch']}/{d['epochs']}" if d["epochs"] else ""
        bar.label = f"{d['phase']} {d['iteration']}{epoch}"
        bar.update(max(0, round(d["fraction"] * 1000) - bar.pos))


@cli.command()
@click.argument("spec_file", type=PATH)
@RUNS
def launch(spec_file: Path, runs_folder: Path | None) -> None:
    """Start a spec in the background and print its run id."""
    from trimcore import spec

    click.echo(control.launch(spec.load(spec_file), runs.runs_folder(runs_folder)))


@cli.command("list")
@RUNS
def list_runs(runs_folder: Path | None) -> None:
    """List the runs, newest first."""
    folder = runs.runs_folder(runs_folder)
    for run_id in runs.list_runs(folder):
        status = runs.state_of(folder / run_id)
        click.echo(f"{run_id:40} {status.state:9} {status.progress:4.0%}  {status.reason}")


@cli.command()
@click.argument("run_id")
@RUNS
def show(run_id: str, runs_folder: Path | None) -> None:
    """Show a run's state and its iterations."""
    folder = runs.open_run(runs.runs_folder(runs_folder), run_id)
    status = runs.state_of(folder)
    click.echo(
        f"{run_id}: {status.state}{' (stalled)' if status.stalled else ''}, {status.progress:.0%}. {status.reason}"
    )
    _show_table(folder)


@cli.command()
@click.argument("run_id")
@RUNS
def resume(run_id: str, runs_folder: Path | None) -> None:
    """Let a paused, stopped, failed or lost run go on."""
    control.resume(runs.runs_folder(runs_folder), run_id)
    click.echo(run_id)


@cli.command()
@click.argument("run_id")
@RUNS
def pause(run_id: str, runs_folder: Path | None) -> None:
    """Pause a run at the end of its epoch; `resume` goes on."""
    _ask(run_id, "pause", runs_folder)


@cli.command()
@click.argument("run_id")
@RUNS
def stop(run_id: str, runs_folder: Path | None) -> None:
    """Stop a run at its next batch."""
    _ask(run_id, "stop", runs_folder)


def _ask(run_id: str, action: str, runs_folder: Path | None) -> None:
    folder = runs.runs_folder(runs_folder)
    control.ask(folder, run_id, action)
    status = control.wait_for(folder, run_id, lambda s: not s.active, WAIT)
    click.echo(f"{run_id}: {status.state}. {status.reason}")


@cli.command()
@click.argument("run_id")
@click.argument("spec_file", type=PATH)
@click.option("--iteration", type=click.IntRange(min=0), required=True, help="Where the branch begins.")
@RUNS
def branch(run_id: str, spec_file: Path, iteration: int, runs_folder: Path | None) -> None:
    """Start a spec in the background from an iteration of another run."""
    from trimcore import spec

    asked = spec.load(spec_file).model_copy(update={"parent": spec.Parent(run=run_id, iteration=iteration)})
    click.echo(control.launch(asked, runs.runs_folder(runs_folder)))


@cli.command()
@click.argument("run_id")
@click.option("--name", help="What the run is called.")
@click.option("--note", help="A text on it.")
@click.option("--tag", "tags", multiple=True, help="Words to find it by; each use of the option is one.")
@RUNS
def note(run_id: str, name: str | None, note: str | None, tags: tuple[str, ...], runs_folder: Path | None) -> None:
    """Write a name, a note or tags on a run, or show what is written. An empty text takes one away."""
    from trimcore import shelf

    folder = runs.runs_folder(runs_folder)
    found = shelf.notes_of(runs.open_run(folder, run_id))
    if name is not None or note is not None or tags:
        asked: dict[str, Any] = {"name": name, "note": note, "tags": tags or None}
        found = replace(found, **{key: value for key, value in asked.items() if value is not None})
        shelf.write_notes(folder, run_id, found)
    click.echo(f"name: {found.name}\ntags: {', '.join(found.tags)}\n{found.note}")


@cli.command()
@click.argument("run_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@RUNS
def delete(run_id: str, yes: bool, runs_folder: Path | None) -> None:
    """Take a run away for good: not an active one, nor one that others began from."""
    from trimcore import shelf

    folder = runs.runs_folder(runs_folder)
    runs.open_run(folder, run_id)
    if yes or click.confirm(f"delete {run_id} with its checkpoints for good?", abort=True):
        shelf.delete(folder, run_id)
        click.echo(f"{run_id} is deleted")


@cli.command()
@click.argument("run_id")
@click.option("--out", type=PATH, required=True, help="Folder for the CSVs.")
@RUNS
def report(run_id: str, out: Path, runs_folder: Path | None) -> None:
    """Write the CSVs of a run."""
    from trimcore import tables

    events = list(runs.read_events(runs.open_run(runs.runs_folder(runs_folder), run_id)))
    if not tables.latest(events, "iteration"):
        raise TrimError(f"run {run_id!r} has no finished iteration to report yet")
    _write_csvs(out, tables.csv_texts(events))


@cli.command()
@click.argument("run_id")
@click.option("--iteration", type=click.IntRange(min=0), help="Default: the run's result.")
@click.option(
    "--format", "format_", type=click.Choice(["state_dict", "safetensors", "sparse", "pt2", "onnx"]),
    default="state_dict", show_default=True,
)  # fmt: skip
@click.option("--out", type=PATH, required=True)
@RUNS
def export(run_id: str, iteration: int | None, format_: str, out: Path, runs_folder: Path | None) -> None:
    """Write a trimmed network to a file, and check that the file computes the same."""
    from trimcore import checkpoint, export

    if out.is_dir():
        raise TrimError(f"cannot write {str(out)!r}: it is a folder, give a file")
    folder = runs.open_run(runs.runs_folder(runs_folder), run_id)
    made = checkpoint.load(runs.checkpoint_path(folder, runs.result_of(folder) if iteration is None else iteration))
    difference = export.export(made, format_, out)
    click.echo(f"{out}: iteration {made.iteration}, {export.in_words(difference)}")


# --- showing ---


def _show_table(folder: Path) -> None:
    from trimcore import tables

    events = list(runs.read_events(folder))
    if tables.latest(events, "iteration"):
        click.echo(_text_table(tables.paper_table(events)))


def _text_table(frame: "DataFrame", percent: Collection[str] = ()) -> str:
    formats = dict.fromkeys(percent, "{:.1%}".format)
    return frame.to_string(index=False, na_rep="", formatters=formats)


def _write_csvs(folder: Path, texts: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            runs.write_atomic(folder / name, text)
            click.echo(folder / name)
    except OSError as error:
        raise TrimError(f"cannot write to {str(folder)!r}: {error.strerror or error}") from None
