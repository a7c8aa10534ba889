"""A run's recorded events as data frames for tables and charts. Pure functions.

An epoch or iteration that was repeated after an interruption has two events; the last one counts.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from trimcore.tables.captions import cuts_text, zeros_text
from trimcore.tables.metric import value_of

Recorded = dict[str, Any]

EPOCHS = ["phase", "iteration", "epoch", "epochs", "loss", "metric", "validation_metric", "lr",
          "images_per_second", "seconds"]  # fmt: skip
UNITS = ["iteration", "layer", "unit", "member", "neuron", "original_neuron", "relevance"]
VERIFICATIONS = ["iteration", "pairs", "distance", "layer", "count", "accuracy", "standard_error", "auc"]


def latest(events: Iterable[Recorded], kind: str) -> dict[int, Recorded]:
    """The last event of a kind in each iteration."""
    return {event["iteration"]: event for event in events if event["kind"] == kind}


def prunings(events: list[Recorded]) -> dict[int, Recorded]:
    """The cut that starts each iteration, in order: neurons removed, or weights held at zero."""
    return dict(sorted((latest(events, "pruned") | latest(events, "weights")).items()))


def profiles(events: list[Recorded]) -> pd.DataFrame:
    """Every profile of the run, one row per neuron, of the network at the end of each iteration.

    Columns iteration, layer, kind, width, parameters, macs, tolerance (0: only exact zeros were counted), neuron,
    original_neuron, apoz, group (the same number for neurons of a layer that can only be removed together), head (the
    attention head that the neuron belongs to, missing if none).
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
                "apoz": np.array(layer["apoz"], dtype=float),  # None, not a number: a neuron without an activation
                "group": layer.get("groups", range(layer["width"])),  # absent if each neuron can go alone
                "head": pd.array(layer.get("heads") or [None] * layer["width"], dtype="Int64"),
            }
        )  # fmt: skip
        for iteration, event in sorted(latest(events, "profiled").items())
        for name, layer in event["layers"].items()
    ]
    columns = ["iteration", "layer", "kind", "width", "parameters", "macs", "tolerance", "neuron", "original_neuron",
               "apoz", "group", "head"]  # fmt: skip
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def history(events: list[Recorded]) -> pd.DataFrame:
    """Each layer over the run: iteration, layer, width, pruned (neurons removed since the previous iteration),
    apoz_mean, tolerance (0: only exact zeros were counted)."""
    columns = ["iteration", "layer", "width", "apoz_mean", "tolerance"]
    rows = [
        (iteration, name, layer["width"], mean_apoz(layer["apoz"]), layer.get("tolerance", 0.0))
        for iteration, event in sorted(latest(events, "profiled").items())
        for name, layer in event["layers"].items()
    ]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(pruned=-table.groupby("layer").width.diff().fillna(0).astype(int))


def mean_apoz(apoz: Iterable[float | None]) -> float:
    """The mean over the neurons that have an activation; not a number if there are none."""
    known = [value for value in apoz if value is not None]
    return sum(known) / len(known) if known else float("nan")


def units(events: list[Recorded]) -> pd.DataFrame:
    """The neurons of maxout units in every profile, columns UNITS. A neuron's index is unit * k + member.

    Relevance (Rueda et al. 2017) is how often a neuron is the maximum of its unit, 0..1; it sums to 1 over each unit.
    """
    frames = [pd.DataFrame(columns=UNITS)]
    for iteration, event in sorted(latest(events, "profiled").items()):
        for name, own in (event.get("units") or {}).items():
            counts = np.array(own["counts"], dtype=float)
            number, k = counts.shape
            neuron = np.arange(number * k)
            frames.append(pd.DataFrame({
                "iteration": iteration, "layer": name, "unit": neuron // k, "member": neuron % k, "neuron": neuron,
                "original_neuron": own.get("original") or event["layers"][name]["original"],
                "relevance": counts.ravel() / (own["shares"] * own["examples"] * own["positions"]),
            }))  # fmt: skip
    return pd.concat(frames[1:] or frames, ignore_index=True)


def neurons_a_unit(events: list[Recorded]) -> dict[int, dict[str, int]]:
    """The neurons per unit of each maxout layer, for each iteration that was profiled or finished."""
    seen = {
        iteration: {name: own["k"] for name, own in (event.get("units") or {}).items()}
        for iteration, event in latest(events, "profiled").items()
    }
    return seen | {iteration: row.get("k") or {} for iteration, row in latest(events, "iteration").items()}


def sparsity(events: list[Recorded]) -> pd.DataFrame:
    """The layers after each step that prunes weights: iteration, layer, weights, zeros, share (0..1), threshold (a
    magnitude)."""
    rows = [
        (iteration, name, own["weights"], own["zeros"], own["zeros"] / max(own["weights"], 1), own.get("threshold"))
        for iteration, event in sorted(latest(events, "weights").items())
        for name, own in event["layers"].items()
    ]
    return pd.DataFrame(rows, columns=["iteration", "layer", "weights", "zeros", "share", "threshold"])


def verifications(events: list[Recorded]) -> pd.DataFrame:
    """The verification of each iteration, columns VERIFICATIONS; accuracy (mean over the folds) and AUC are 0..1."""
    found = sorted(latest(events, "verified").items())
    return pd.DataFrame([{c: event.get(c) for c in VERIFICATIONS} for _, event in found], columns=VERIFICATIONS)


def rocs(events: list[Recorded]) -> pd.DataFrame:
    """The ROC of each iteration's verification, one row per point: iteration, auc, false_positive, true_positive."""
    rows = [
        (iteration, event["auc"], *point)
        for iteration, event in sorted(latest(events, "verified").items())
        for point in event["roc"]
    ]
    return pd.DataFrame(rows, columns=["iteration", "auc", "false_positive", "true_positive"])


def epochs(events: list[Recorded]) -> pd.DataFrame:
    """All training epochs in order; `phase` is base, convert, retrain or control. `metric` is the headline metric on
    the training examples, if the task counts it."""
    found = {(e["phase"], e["iteration"], e["epoch"]): e for e in events if e["kind"] == "epoch"}
    values = {"metric": "accuracy", "validation_metric": "validation_accuracy"}
    rows = [{c: value_of(e, values[c]) if c in values else e.get(c) for c in EPOCHS} for e in found.values()]
    return pd.DataFrame(rows, columns=EPOCHS)


def cuts(events: list[Recorded]) -> pd.DataFrame:
    """One row per cut: iteration, label ("conv2 −11, fc1 −74", "fc1 −125 (k 4→3)", "weights: 71 % zero"),
    metric_initial, metric_final (of validation; None until the iteration has finished)."""
    initial, final, units_before = latest(events, "initial"), latest(events, "iteration"), neurons_a_unit(events)
    rows = [
        {
            "iteration": iteration,
            "label": _label(event, units_before.get(iteration - 1, {})),
            "metric_initial": value_of(initial.get(iteration, {}), "validation_accuracy"),
            "metric_final": value_of(final.get(iteration, {}), "validation_accuracy"),
        }
        for iteration, event in prunings(events).items()
    ]
    return pd.DataFrame(rows, columns=["iteration", "label", "metric_initial", "metric_final"])


def _label(cut: Recorded, units_before: dict[str, int]) -> str:
    layers = cut["layers"]
    if cut["kind"] == "weights":
        return zeros_text(*({name: own[key] for name, own in layers.items()} for key in ("zeros", "weights")))
    heads = {name: own.get("heads", 0) for name, own in layers.items()}
    return cuts_text({name: len(own["cut"]) for name, own in layers.items()}, units_before, cut.get("k"), heads)


def control_row(events: list[Recorded]) -> Recorded | None:
    """The event of the from-scratch control, if it has finished."""
    return next((event for event in reversed(events) if event["kind"] == "control"), None)
