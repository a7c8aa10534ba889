"""The CSVs and the paper's table, from a run's events. Pure functions."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from trimcore.tables.captions import configurations, widths_text
from trimcore.tables.csv_text import as_csv
from trimcore.tables.metric import metric_of, value_of
from trimcore.tables.recorded import (
    Recorded,
    latest,
    neurons_a_unit,
    profiles,
    prunings,
    units,
)

ITERATIONS = ["iteration", "layers_trimmed", "widths", "parameters", "compression", "macs", "macs_ratio",
              "nonzero_parameters", "accuracy_initial", "accuracy_final", "loss_final", "latency_ms", "seconds",
              "validation_accuracy", "latency_ratio", "latency_1_ms", "latency_1_ratio", "k", "bytes_dense",
              "bytes_sparse", "verification", "verification_error", "accuracy_reestimated", "metric",
              "metric_initial", "metric_reestimated", "metric_final", "validation_metric", "metrics"]  # fmt: skip
VALUES = {"metric_initial": "accuracy_initial", "metric_reestimated": "accuracy_reestimated",
          "metric_final": "accuracy_final", "validation_metric": "validation_accuracy"}  # fmt: skip
LAYERS = ["iteration", "layer", "kind", "width", "parameters", "macs", "apoz_mean", "apoz_std", "apoz_min", "apoz_max",
          "rule", "threshold", "pruned", "tolerance", "k", "weights", "zero_weights", "no_activation", "heads",
          "heads_pruned"]  # fmt: skip
NEURONS = ["iteration", "layer", "neuron", "original_neuron", "apoz", "kept", "unit", "relevance", "head"]
CLASSES = ["iteration", "class", "split", "examples", "accuracy_initial", "accuracy_final"]


def iterations(events: list[Recorded]) -> pd.DataFrame:
    """iterations.csv: one row per iteration, 0 being the base model. Accuracies 0..1 on the test split.

    `metric` names the headline metric, and the columns after it have its values; the columns of accuracies are filled
    if it is accuracy. `metrics` has all metrics of other tasks on the test split: `mIoU=0.71;pixel accuracy=0.97`.
    """
    metric = metric_of(events)
    rows = [
        {
            **{column: event.get(column) for column in ITERATIONS},
            "layers_trimmed": ";".join(event["layers_trimmed"]),
            "widths": widths_text(event["widths"]),
            "k": widths_text(event.get("k") or {}),
            "metric": metric.name,
            **{column: value_of(event, name) for column, name in VALUES.items()},
            "metrics": _values_text(event),
        }
        for event in latest(events, "iteration").values()
    ]
    table = pd.DataFrame(rows, columns=ITERATIONS).sort_values("iteration", ignore_index=True)
    return table.astype({"bytes_dense": "Int64", "bytes_sparse": "Int64"})  # missing in old runs


def _values_text(event: Recorded) -> str:
    values = (event.get("metrics") or {}).get("test") or {}
    return ";".join(f"{name}={value:.6g}" for name, value in values.items())


def layers(events: list[Recorded]) -> pd.DataFrame:
    """layers.csv: each layer before each cut (`apoz_std` is the population's), and the cut itself.

    `weights` and `zero_weights` count the layer's weight tensor after a step that prunes weights. Such a step can
    include layers that are never profiled, such as the output layer; they come last.
    """
    seen, cuts, units_before = profiles(events), _finished_cuts(events), neurons_a_unit(events)
    rows = []
    for iteration in [0, *cuts]:
        cut, before = (cuts[iteration] if iteration else {}), max(iteration - 1, 0)
        gone, k = cut.get("layers", {}), units_before.get(before, {})
        shown = dict(tuple(seen[seen.iteration == before].groupby("layer", sort=False)))
        for name in dict.fromkeys([*shown, *gone]):
            own = _as_profiled(shown[name]) if name in shown else {"width": cut.get("widths", {}).get(name)}
            done = gone.get(name, {})
            rows.append({
                **own, "iteration": iteration, "layer": name, "rule": done.get("rule", ""),
                "threshold": done.get("threshold"), "pruned": len(done.get("cut", [])), "k": k.get(name),
                "weights": done.get("weights"), "zero_weights": done.get("zeros"), "heads_pruned": done.get("heads"),
            })  # fmt: skip
    whole = ["width", "parameters", "macs", "k", "weights", "zero_weights", "no_activation", "heads", "heads_pruned"]
    return pd.DataFrame(rows, columns=LAYERS).astype(dict.fromkeys(whole, "Int64"))


def _as_profiled(frame: pd.DataFrame) -> dict[str, Any]:
    first, apoz = frame.iloc[0], frame.apoz
    return {
        "kind": first.kind, "width": first.width, "parameters": first.parameters, "macs": first.macs,
        "apoz_mean": round(apoz.mean(), 6), "apoz_std": round(apoz.std(ddof=0), 6), "apoz_min": apoz.min(),
        "apoz_max": apoz.max(), "tolerance": first.tolerance, "no_activation": int(apoz.isna().sum()),
        "heads": frame["head"].nunique() or None,
    }  # fmt: skip


def neurons(events: list[Recorded]) -> pd.DataFrame:
    """neurons.csv: each neuron before each cut, and whether it was kept. Iteration 0 is the base model, still uncut."""
    places = ["iteration", "layer", "neuron"]
    in_units = units(events).round({"relevance": 6})[[*places, "unit", "relevance"]]
    seen, cuts = profiles(events).merge(in_units, "left", places), _finished_cuts(events)
    seen = seen.astype({"unit": "Int64"})
    frames = []
    for iteration in [0, *cuts]:
        frame = seen[seen.iteration == max(iteration - 1, 0)].copy()
        gone = cuts[iteration]["layers"] if iteration else {}
        cut = {(name, neuron) for name, layer in gone.items() for neuron in layer.get("cut", [])}
        frame["kept"] = [int(pair not in cut) for pair in zip(frame.layer, frame.neuron, strict=True)]
        frame["iteration"] = iteration
        frames.append(frame[NEURONS])
    return pd.concat(frames, ignore_index=True)


def class_accuracy(events: list[Recorded], classes: Sequence[str] | None = None) -> pd.DataFrame:
    """The accuracy (0..1) of each class after each cut and after retraining, columns CLASSES. An unfinished iteration
    has only the first. All classes are listed in order; the value is missing for a class without examples.

    `classes`: the class names (default: those that the run recorded). Empty if the run did not record class accuracy.
    """
    if classes is None:
        classes = next((event["classes"] for event in events if event.get("classes")), ())
    measured = {"accuracy_initial": latest(events, "initial"), "accuracy_final": latest(events, "iteration")}
    frames = [pd.DataFrame(columns=CLASSES)]
    for iteration in sorted(set().union(*measured.values())):
        own = {column: found.get(iteration, {}) for column, found in measured.items()}
        for split in ("validation", "test"):
            shares = {column: event.get("class_accuracy", {}).get(split) for column, event in own.items()}
            if not any(shares.values()):
                continue
            counts = next(event["class_examples"][split] for event in own.values() if "class_examples" in event)
            names = classes if len(classes) == len(counts) else [str(number) for number in range(len(counts))]
            frames.append(pd.DataFrame(
                {"iteration": iteration, "class": list(names), "split": split, "examples": counts, **shares},
                columns=CLASSES,
            ))  # fmt: skip
    table = pd.concat(frames[1:] or frames, ignore_index=True)
    return table.astype({"examples": "Int64", **dict.fromkeys(measured, float)})


def _finished_classes(events: list[Recorded]) -> pd.DataFrame:
    """classes.csv: the accuracy of each class, for the same iterations as in the other files."""
    table = class_accuracy(events)
    return table[table.iteration.isin(latest(events, "iteration"))]


def _finished_cuts(events: list[Recorded]) -> dict[int, dict[str, Any]]:
    """The cuts of finished iterations. Using only these keeps the CSVs consistent with each other."""
    finished = latest(events, "iteration")
    return {iteration: cut for iteration, cut in prunings(events).items() if iteration in finished}


def paper_table(events: list[Recorded]) -> pd.DataFrame:
    """The paper's table: configuration, compression, initial and final headline metric (test split, shares in percent).

    If weights were pruned, it also has the non-zero parameters, their compression, and the bytes of a file with all
    weights (dense) and with only the non-zero ones (sparse). If pairs were verified, it has that accuracy with its
    standard error.
    """
    table, rows, seen = iterations(events), latest(events, "iteration"), latest(events, "profiled")
    trimmable = list(seen[min(seen)]["layers"]) if seen else None
    widths, k = ([rows[iteration].get(key) or {} for iteration in table.iteration] for key in ("widths", "k"))
    shown = pd.DataFrame({
        "iteration": table.iteration,
        "configuration": configurations(widths, trimmable, k),
        "parameters": table.parameters,
        "compression": table.compression.astype(float).round(2),
    })  # fmt: skip
    if has_zero_weights(events):
        base = table.compression * table.parameters
        shown["non-zero parameters"] = table.nonzero_parameters
        shown["compression, non-zero"] = (base / table.nonzero_parameters).astype(float).round(2)
        shown["bytes dense"], shown["bytes sparse"] = table.bytes_dense, table.bytes_sparse
    metric = metric_of(events)
    for when in ("initial", "final"):
        values = table[f"metric_{when}"].astype(float)
        name = f"{when} {metric.name}"
        shown[f"{name} %" if metric.percent else name] = (values * 100).round(2) if metric.percent else values.round(4)
    if table.verification.notna().any():
        shown["verification %"] = [
            None if pd.isna(mean) else f"{100 * mean:.2f}" + ("" if pd.isna(error) else f" ± {100 * error:.2f}")
            for mean, error in zip(table.verification, table.verification_error, strict=True)
        ]
    return shown


def has_zero_weights(events: list[Recorded]) -> bool:
    """Whether weights were pruned, in this run or before. A few zero weights prove nothing: dead neurons have some."""
    rows = latest(events, "iteration").values()
    smaller = any((row.get("bytes_sparse") or 0) < (row.get("bytes_dense") or 0) for row in rows)
    return smaller or bool(latest(events, "weights"))


CSVS = {"iterations.csv": iterations, "layers.csv": layers, "neurons.csv": neurons, "classes.csv": _finished_classes}


def csv_names(events: list[Recorded]) -> list[str]:
    """The names of the CSVs of a run: classes.csv is only there if the run recorded class accuracy."""
    return [name for name in CSVS if name != "classes.csv" or len(_finished_classes(events))]


def csv_of(events: list[Recorded], name: str) -> str:
    """The text of one of the CSVs. It is meant to be written as UTF-8; see `as_csv` for the format."""
    return as_csv(CSVS[name](events))


def csv_texts(events: list[Recorded]) -> dict[str, str]:
    """File name -> text of all CSVs of a run."""
    found = {name: table(events) for name, table in CSVS.items()}
    return {name: as_csv(table) for name, table in found.items() if name != "classes.csv" or len(table)}
