"""Events to tables: the three CSVs and what the charts need. Pure functions of the recorded events.

An epoch or iteration that was done again after an interruption is there twice among the events; the last one counts.
"""

from collections.abc import Iterable

import pandas as pd

ITERATIONS = ["iteration", "layers_trimmed", "widths", "parameters", "compression", "macs", "macs_ratio",
              "nonzero_parameters", "accuracy_initial", "accuracy_final", "loss_final", "latency_ms", "seconds",
              "validation_accuracy"]  # fmt: skip
LAYERS = ["iteration", "layer", "kind", "width", "parameters", "macs", "apoz_mean", "apoz_std", "apoz_min", "apoz_max",
          "rule", "threshold", "pruned"]  # fmt: skip
NEURONS = ["iteration", "layer", "neuron", "original_neuron", "apoz", "kept"]
EPOCHS = ["phase", "iteration", "epoch", "epochs", "loss", "accuracy", "validation_accuracy", "lr",
          "images_per_second", "seconds"]  # fmt: skip


def latest(events: Iterable[dict], kind: str) -> dict[int, dict]:
    """The last event of a kind for each iteration."""
    return {event["iteration"]: event for event in events if event["kind"] == kind}


def widths_text(widths: dict[str, int]) -> str:
    """`conv1=20;conv2=41`"""
    return ";".join(f"{layer}={width}" for layer, width in widths.items())


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

    Columns iteration, layer, kind, width, parameters, macs, neuron, original_neuron, apoz.
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
                "neuron": range(layer["width"]),
                "original_neuron": layer["original"],
                "apoz": layer["apoz"],
            }
        )  # fmt: skip
        for iteration, event in sorted(latest(events, "profiled").items())
        for name, layer in event["layers"].items()
    ]
    columns = ["iteration", "layer", "kind", "width", "parameters", "macs", "neuron", "original_neuron", "apoz"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


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
            })  # fmt: skip
    return pd.DataFrame(rows, columns=LAYERS)


def epochs(events: list[dict]) -> pd.DataFrame:
    """All training epochs in order, `phase` base, retrain or control."""
    found = {(e["phase"], e["iteration"], e["epoch"]): e for e in events if e["kind"] == "epoch"}
    return pd.DataFrame([{c: e.get(c) for c in EPOCHS} for e in found.values()], columns=EPOCHS)


def cuts(events: list[dict]) -> pd.DataFrame:
    """One row a cut: iteration, label ("conv2 −11, fc1 −74"), accuracy_initial, accuracy_final (None while it runs)."""
    initial, final = latest(events, "initial"), latest(events, "iteration")
    rows = [
        {
            "iteration": iteration,
            "label": ", ".join(f"{name} −{len(c['cut'])}" for name, c in event["layers"].items() if c["cut"]),
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
    table = iterations(events)
    return pd.DataFrame({
        "iteration": table.iteration,
        "configuration": [w.replace(";", " · ").replace("=", " ") for w in table.widths],
        "parameters": table.parameters,
        "compression": table.compression.astype(float).round(2),
        "initial accuracy %": (table.accuracy_initial.astype(float) * 100).round(2),
        "final accuracy %": (table.accuracy_final.astype(float) * 100).round(2),
    })  # fmt: skip


CSVS = {"iterations.csv": iterations, "layers.csv": layers, "neurons.csv": neurons}


def csv_texts(events: list[dict]) -> dict[str, str]:
    """File name -> text of the three CSVs: UTF-8, a header, `.` decimals, empty where there is no value."""
    return {name: table(events).to_csv(index=False, lineterminator="\n") for name, table in CSVS.items()}
