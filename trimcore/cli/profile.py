"""The command `trimcore profile`."""

import sys
from pathlib import Path
from typing import Any

import click

from trimcore.cli.options import PATH
from trimcore.cli.output import text_table, write_csvs
from trimcore.errors import TrimError
from trimcore.spec import DEFAULT_TOLERANCE, Spec

WRITTEN = ("layers.csv", "neurons.csv")


@click.command()
@click.option("--model", required=True, help="A name from `models`, or package.module:function.")
@click.option("--data", required=True, help="A name from `datasets`.")
@click.option("--weights", default="", help="A checkpoint; without one, the network is untrained.")
@click.option("--new-head", is_flag=True, help="Take all weights but those of the head; the new one is untrained.")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Number of validation examples; 0 means all.")
@click.option("--device", default="auto")
@click.option("--seed", type=click.IntRange(min=0), default=0)
@click.option(
    "--tolerance", type=click.FloatRange(0, 1), default=DEFAULT_TOLERANCE, show_default=True,
    help="Outputs of GELU, SiLU and similar count as zero up to this share of their root mean square.",
)  # fmt: skip
@click.option("--option", "options", multiple=True, metavar="NAME=N", help="An option of the model, such as k=4.")
@click.option("--whole-heads", is_flag=True, help="Attention heads only go whole.")
@click.option("--embeddings", is_flag=True, help="Channels of normalised streams can go, too.")
@click.option("--time", "timed", is_flag=True, help="Also measure the milliseconds of each layer.")
@click.option("--csv", "folder", type=PATH, help="Write layers.csv, neurons.csv and times.csv to this folder.")
def profile(
    model: str, data: str, weights: str, limit: int, device: str, seed: int, tolerance: float, options: tuple[str, ...],
    whole_heads: bool, embeddings: bool, timed: bool, folder: Path | None, new_head: bool,
) -> None:  # fmt: skip
    """Count the zeros of every layer on the validation split and the maxima of maxout units on the train split."""
    from trimcore import spec, tables
    from trimcore.training.loop import trim

    parsed = spec.parse({
        "model": model, "data": data, "seed": seed, "device": device, "options": _numbers(options),
        "whole_heads": whole_heads, "embeddings": embeddings,
        "base": {"weights": weights, "head": "new" if new_head else "", "epochs": 0},
        "profile": {"examples": limit, "tolerance": tolerance},
    })  # fmt: skip
    events = []
    with click.progressbar(length=1000, label="profiling", file=sys.stderr, width=30) as bar:
        for event in trim(parsed):
            if event.recorded:
                events.append({"kind": event.kind, **event.data})
            else:
                bar.update(max(0, round(1000 * event.data["step"] / event.data["steps"]) - bar.pos))
    seen = next(e for e in events if e["kind"] == "profiled")
    if not weights:
        click.echo("note: without --weights, the network is untrained", err=True)
    said = [event["text"] for event in events if event["kind"] == "note"]
    for text in dict.fromkeys([events[0]["trimmable"], *events[0]["found"], *said]):
        click.echo(f"note: {text}", err=True)
    click.echo(f"{seen['examples']} examples in {seen['seconds']:.2f} s")
    shown = tables.layers(events)[["layer", "kind", "width", "apoz_mean", "apoz_std", "apoz_min", "apoz_max"]]
    if any(layer["tolerance"] for layer in seen["layers"].values()):
        zeros = [tables.counted_as_zero(layer["tolerance"], layer["limits"]) for layer in seen["layers"].values()]
        shown = shown.assign(zeros=zeros)
    click.echo(text_table(shown, percent=[c for c in map(str, shown.columns) if c.startswith("apoz")]))
    for name, units in seen["units"].items():
        never = sum(count == 0 for unit in units["counts"] for count in unit)
        total = units["shares"] * units["examples"] * units["positions"]
        least = sum(min(unit) for unit in units["counts"]) / total / len(units["counts"])
        click.echo(
            f"{name}: {len(units['counts'])} maxout units of {units['k']}; on {units['examples']} training examples, "
            f"the least relevant neuron of a unit is its maximum {least:.1%} of the time; {never} neurons never are"
        )
    times = layer_times(parsed) if timed else None
    if times is not None:
        click.echo()
        click.echo(text_table(times.round({"ms": 3, "after_ms": 3}), percent=["share"]))
    if folder:
        texts = {name: text for name, text in tables.csv_texts(events).items() if name in WRITTEN}
        if times is not None:
            from trimcore.tables.csv_text import as_csv

            texts["times.csv"] = as_csv(times)
        write_csvs(folder, texts)


def layer_times(spec: Spec) -> Any:
    """The milliseconds of each layer of a spec's first network, for one example and for a training batch."""
    import pandas as pd

    from trimcore.timing.layer_times import time_layers
    from trimcore.training.prepare import prepare

    ready = prepare(spec)
    batches = dict.fromkeys((1, spec.retrain.batch_size))
    return pd.concat([time_layers(ready.graph, ready.example, batch).table() for batch in batches])


def _numbers(options: tuple[str, ...]) -> dict[str, int]:
    pairs = [text.partition("=")[::2] for text in options]
    if wrong := [name for name, number in pairs if not number.isdecimal()]:
        raise TrimError(f"--option {wrong[0]} needs an integer, as in --option k=4")
    return {name: int(number) for name, number in pairs}
