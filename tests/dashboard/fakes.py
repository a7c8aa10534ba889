"""Run folders: written by hand, without training, or really carried out, in this process."""

import json
from collections.abc import Mapping
from pathlib import Path

from trimcore import runs, spec
from trimcore.jobs import control, worker


def fake_run(folder: Path, asked: dict, iterations: list[dict[str, int]], accuracies: list[float], **layer) -> str:
    """A finished run; `iterations` are the widths of all layers, the base first. Parameters are 100 a neuron.

    The neurons of a layer of width w have an APoZ of 0/w, 1/w, ...; `layer` are further entries of its profile, made
    from the width where they are functions.
    """
    made = control.prepare_run(spec.parse({"device": "cpu", **asked}), folder)
    events: list[dict] = [{"kind": "started", "device": "a CPU", "torch": "2", "seed": 0}]
    for number, (widths, accuracy) in enumerate(zip(iterations, accuracies, strict=True)):
        size = 100 * sum(widths.values())
        if number:
            before = iterations[number - 1]
            cut = {name: {"cut": list(range(before[name] - width))} for name, width in widths.items()}
            events.append({"kind": "pruned", "iteration": number, "layers": cut})
            events.append({"kind": "initial", "iteration": number, "accuracy": 0.5, "validation_accuracy": 0.5})
        events.append({
            "kind": "epoch", "phase": "retrain" if number else "base", "iteration": number, "epoch": 1, "epochs": 1,
            "loss": 0.1, "accuracy": accuracy, "validation_accuracy": accuracy, "seconds": 1.0,
        })  # fmt: skip
        profiled = {name: _profiled(width, layer) for name, width in widths.items()}
        events.append({"kind": "profiled", "iteration": number, "examples": 5, "seconds": 1.0, "layers": profiled})
        first = 100 * sum(iterations[0].values())
        events.append({
            "kind": "iteration", "iteration": number, "layers_trimmed": [], "widths": widths, "parameters": size,
            "compression": first / size, "macs": size, "macs_ratio": first / size, "accuracy_initial": None,
            "accuracy_final": accuracy, "validation_accuracy": accuracy, "latency_ms": 1.0, "result": number,
        })  # fmt: skip
    lines = [json.dumps({"seq": number, **event}) + "\n" for number, event in enumerate(events)]
    (made / "events.jsonl").write_text("".join(lines), "utf-8")
    runs.write_exit(made, "finished", "all steps are done")
    return made.name


def real_run(folder: Path, asked: spec.Spec) -> Path:
    """A run that is carried out and has finished."""
    made = control.prepare_run(asked, folder)
    outcome = worker.carry_out(made, log=made / "log.txt")
    assert outcome["state"] == "finished", outcome
    runs.write_exit(made, **outcome, code=0)
    return made


def _profiled(width: int, more: Mapping) -> dict:
    return {
        "kind": "conv", "width": width, "parameters": 100 * width, "macs": 100 * width,
        "apoz": [k / width for k in range(width)], "original": list(range(width)),
        **{key: value(width) if callable(value) else value for key, value in more.items()},
    }  # fmt: skip
