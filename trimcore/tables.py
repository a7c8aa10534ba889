"""Events to tables: the three CSVs and what the charts need. Pure functions of the recorded events.

An epoch or iteration that was done again after an interruption is there twice among the events; the last one counts.
"""

from collections.abc import Iterable

import pandas as pd

ITERATIONS = ["iteration", "layers_trimmed", "widths", "parameters", "compression", "macs", "macs_ratio",
              "nonzero_parameters", "accuracy_initial", "accuracy_final", "loss_final", "latency_ms", "seconds",
              "validation_accuracy", "latency_ratio", "latency_1_ms", "latency_1_ratio"]  # fmt: skip
LAYERS = ["iteration", "layer", "kind", "width", "parameters", "macs", "apoz_mean", "apoz_std", "apoz_min", "apoz_max",
          "rule", "threshold", "pruned", "tolerance"]  # fmt: skip
NAMED = 8  # the most layers that a text for people names; files name them all
OF_MANY = 4  # ... where there are more
NEURONS = ["iteration", "layer", "neuron", "original_neuron", "apoz", "kept"]
EPOCHS = ["phase", "iteration", "epoch", "epochs", "loss", "accuracy", "validation_accuracy", "lr",
          "images_per_second", "seconds"]  # fmt: skip


def latest(events: Iterable[dict], kind: str) -> dict[int, dict]:
    """The last event of a kind for each iteration."""
    return {event["iteration"]: event for event in events if event["kind"] == kind}


def widths_text(widths: dict[str, int]) -> str:
    """`conv1=20;conv2=41`"""
    return ";".join(f"{layer}={width}" for layer, width in widths.items())


def cuts_text(cuts: dict[str, int]) -> str:
    """How many neurons go in each layer, for people: `conv2 −11, fc1 −74`; of many layers those that lose most.

    >>> cuts_text({"conv1": 0, "conv2": 11, "fc1": 74})
    'conv2 −11, fc1 −74'
    """
    cuts = {layer: count for layer, count in cuts.items() if count}
    most = _most(cuts, len(cuts) if len(cuts) <= NAMED else OF_MANY)
    texts = [f"{layer} −{count:,}" for layer, count in cuts.items() if layer in most]
    others = sum(count for layer, count in cuts.items() if layer not in most)
    return ", ".join(texts + ([f"{len(cuts) - len(most)} more −{others:,}"] if others else []))


def iterations(events: list[dict]) -> pd.DataFrame:
    """iterations.csv: one row an iteration, 0 being the base model. Accuracies 0..1 on the test split."""
    rows = []
    for event in latest(events, "iteration").values():
        row = {column: event.get(column) for column in ITERATIONS}
        rows.append(
            {**row, "layers_trimmed": ";".join(event["layers_trimmed"]), "widths": widths_text(event["widths"])}
        )
    return pd.DataFrame(rows, columns=ITERATIONS).sort_values("iteration", ignore_index=True)


def profiles(events: list[dict]) -> pd.DataFrame:
    """Every profile of the run, neuron by neuron, of the network as it stood at the end of each iteration.

    Columns iteration, layer, kind, width, parameters, macs, tolerance (0: only exact zeros were counted), neuron,
    original_neuron, apoz, group (the same number for neurons of a layer that only go together).
    """
    frames = [
        pd.DataFrame(
            {
                "iteration": iteration,
                "layer": name,
                "kind": layer["kind"],
                "width": layer["width"],
                "parameters": layer["parameters"],
                "macs": layer["macs"],
                "tolerance": layer.get("tolerance", 0.0),  # old runs counted exact zeros
                "neuron": range(layer["width"]),
                "original_neuron": layer["original"],
                "apoz": layer["apoz"],
                "group": layer.get("groups", range(layer["width"])),  # absent where each neuron goes alone
            }
        )  # fmt: skip
        for iteration, event in sorted(latest(events, "profiled").items())
        for name, layer in event["layers"].items()
    ]
    columns = ["iteration", "layer", "kind", "width", "parameters", "macs", "tolerance", "neuron", "original_neuron",
               "apoz", "group"]  # fmt: skip
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def history(events: list[dict]) -> pd.DataFrame:
    """Each layer through the run: iteration, layer, width, pruned (neurons that went since the iteration before),
    apoz_mean, tolerance (0: only exact zeros were counted)."""
    columns = ["iteration", "layer", "width", "apoz_mean", "tolerance"]
    rows = [
        (iteration, name, layer["width"], sum(layer["apoz"]) / layer["width"], layer.get("tolerance", 0.0))
        for iteration, event in sorted(latest(events, "profiled").items())
        for name, layer in event["layers"].items()
    ]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(pruned=-table.groupby("layer").width.diff().fillna(0).astype(int))


def _finished_cuts(events: list[dict]) -> dict[int, dict]:
    """The cuts of finished iterations: the three CSVs always tell of the same ones."""
    finished = latest(events, "iteration")
    return {iteration: cut for iteration, cut in latest(events, "pruned").items() if iteration in finished}


def neurons(events: list[dict]) -> pd.DataFrame:
    """neurons.csv: what was seen before each cut, and who stayed. Iteration 0 is the base model, before any cut."""
    seen, cuts = profiles(events), _finished_cuts(events)
    frames = []
    for iteration in [0, *sorted(cuts)]:
        frame = seen[seen.iteration == max(iteration - 1, 0)].copy()
        gone = cuts[iteration]["layers"] if iteration else {}
        cut = {(name, neuron) for name, layer in gone.items() for neuron in layer["cut"]}
        frame["kept"] = [int(pair not in cut) for pair in zip(frame.layer, frame.neuron, strict=True)]
        frame["iteration"] = iteration
        frames.append(frame[NEURONS])
    return pd.concat(frames, ignore_index=True)


def layers(events: list[dict]) -> pd.DataFrame:
    """layers.csv: each layer as it was before each cut (APoZ with the std of the population), and the cut itself."""
    seen, cuts = profiles(events), _finished_cuts(events)
    rows = []
    for iteration in [0, *sorted(cuts)]:
        gone = cuts[iteration]["layers"] if iteration else {}
        before = seen[seen.iteration == max(iteration - 1, 0)]
        for name, frame in before.groupby("layer", sort=False):
            first, apoz, cut = frame.iloc[0], frame.apoz, gone.get(name, {})
            rows.append({
                "iteration": iteration, "layer": name, "kind": first.kind, "width": first.width,
                "parameters": first.parameters, "macs": first.macs, "apoz_mean": round(apoz.mean(), 6),
                "apoz_std": round(apoz.std(ddof=0), 6), "apoz_min": apoz.min(), "apoz_max": apoz.max(),
                "rule": cut.get("rule", ""), "threshold": cut.get("threshold"), "pruned": len(cut.get("cut", [])),
                "tolerance": first.tolerance,
            })  # fmt: skip
    return pd.DataFrame(rows, columns=LAYERS)


def epochs(events: list[dict]) -> pd.DataFrame:
    """All training epochs in order, `phase` base, convert, retrain or control."""
    found = {(e["phase"], e["iteration"], e["epoch"]): e for e in events if e["kind"] == "epoch"}
    return pd.DataFrame([{c: e.get(c) for c in EPOCHS} for e in found.values()], columns=EPOCHS)


def cuts(events: list[dict]) -> pd.DataFrame:
    """One row a cut: iteration, label ("conv2 −11, fc1 −74"), accuracy_initial, accuracy_final (None while it runs)."""
    initial, final = latest(events, "initial"), latest(events, "iteration")
    rows = [
        {
            "iteration": iteration,
            "label": cuts_text({name: len(layer["cut"]) for name, layer in event["layers"].items()}),
            "accuracy_initial": initial.get(iteration, {}).get("validation_accuracy"),
            "accuracy_final": final.get(iteration, {}).get("validation_accuracy"),
        }
        for iteration, event in sorted(latest(events, "pruned").items())
    ]
    return pd.DataFrame(rows, columns=["iteration", "label", "accuracy_initial", "accuracy_final"])


def control_row(events: list[dict]) -> dict | None:
    """The from-scratch control, if the run has finished one."""
    return next((event for event in reversed(events) if event["kind"] == "control"), None)


def paper_table(events: list[dict]) -> pd.DataFrame:
    """The table of the paper: configuration, compression, initial and final accuracy (test split, per cent)."""
    table, rows, seen = iterations(events), latest(events, "iteration"), latest(events, "profiled")
    trimmable = list(seen[min(seen)]["layers"]) if seen else None
    return pd.DataFrame({
        "iteration": table.iteration,
        "configuration": configurations([rows[iteration]["widths"] for iteration in table.iteration], trimmable),
        "parameters": table.parameters,
        "compression": table.compression.astype(float).round(2),
        "initial accuracy %": (table.accuracy_initial.astype(float) * 100).round(2),
        "final accuracy %": (table.accuracy_final.astype(float) * 100).round(2),
    })  # fmt: skip


def configurations(widths: list[dict[str, int]], trimmable: list[str] | None = None) -> list[str]:
    """The widths of each iteration for people, the first being the base: `conv1 20 · conv2 41`. Of a network with many
    layers those that lose most, and of the others how many have changed since the base. `trimmable` are the layers that
    count there (all without it): the rest is frozen, or goes with one of them."""
    if not widths or len(widths[0]) <= NAMED:
        return [" · ".join(f"{layer} {width}" for layer, width in row.items()) for row in widths]
    base, last = {layer: widths[0][layer] for layer in trimmable or widths[0]}, widths[-1]
    lost = {layer: width - last[layer] for layer, width in base.items() if last[layer] < width}
    named = _most(lost, len(lost) if len(lost) <= NAMED else OF_MANY)
    return [_configuration(base, row, named) for row in widths]


def _most(sizes: dict[str, int], count: int) -> set[str]:
    """The names of the `count` largest, of equal ones the first."""
    return set(sorted(sizes, key=lambda name: -sizes[name])[:count])


def _configuration(base: dict[str, int], row: dict[str, int], named: set[str]) -> str:
    others = [layer for layer in base if layer not in named]
    changed = sum(row[layer] != base[layer] for layer in others)
    parts = [f"{layer} {row[layer]}" for layer in base if layer in named]
    parts += [f"+{changed} trimmed"] if changed else []
    parts += [f"+{len(others) - changed} unchanged"] if changed < len(others) else []
    return " · ".join(parts)


CSVS = {"iterations.csv": iterations, "layers.csv": layers, "neurons.csv": neurons}


def csv_texts(events: list[dict]) -> dict[str, str]:
    """File name -> text of the three CSVs: UTF-8, a header, `.` decimals, empty where there is no value."""
    return {name: table(events).to_csv(index=False, lineterminator="\n") for name, table in CSVS.items()}
