"""Run folders with made-up events, without training, and real runs in this process."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from trimcore import runs, spec
from trimcore.jobs import control, worker
from trimcore.system import processes
from trimcore.tables import Metric

# Widths of LeNet-5's layers, the base first.
FC1_CUT = [{"conv1": 20, "conv2": 50, "fc1": width} for width in (500, 386, 215)]  # 1, 1.25 and 2 times
NARROWER = [{"conv1": 20, "conv2": 50, "fc1": width} for width in (500, 300)]
STAGES = [{"conv1": 20, "conv2": 50 - 10 * k, "fc1": 500 - 100 * k} for k in range(3)]
HALVED = [{"conv1": 20, "conv2": 50, "fc1": 500}, {"conv1": 20, "conv2": 30, "fc1": 178}]  # 570 and 228: 2.5 times
RUNNING = {
    "state": "running", "phase": "retrain", "iteration": 1, "iterations": 4, "epoch": 2, "epochs": 4, "step": 8,
    "steps": 32, "fraction": 0.4, "eta_seconds": 130.0, "iteration_eta_seconds": 33.0, "images_per_second": 8312.4,
    "memory": {"used": 1_310_000_000, "total": 24_200_000_000}, "device": "cpu, 2 threads, bf16",
}  # fmt: skip


def fake_run(folder: Path, asked: dict, iterations: list[dict[str, int]], accuracies: list[float], **layer) -> str:
    """A finished run with made-up events. `iterations` are the widths of all layers, the base first. Each neuron has
    100 parameters.

    The neurons of a layer of width w have an APoZ of 0/w, 1/w, ... `layer`: further entries of its profile; functions
    are called with the width.
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


def judge_by(folder: Path, metric: Metric, metrics: Mapping[str, float] | None = None) -> None:
    """Rename the recorded accuracies of a made-up run to the values of another metric. metrics: all metrics of the
    task, recorded with each iteration."""
    events = [metric.fields(event) for event in recorded(folder)]
    for event in events:
        if event["kind"] == "started":
            event["metric"] = metric.recorded()
        if event["kind"] == "iteration" and metrics:
            event["metrics"] = {"test": dict(metrics)}
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), "utf-8")


def real_run(folder: Path, asked: spec.Spec) -> Path:
    """A run that was really carried out and has finished."""
    made = control.prepare_run(asked, folder)
    outcome = worker.carry_out(made, log=made / "log.txt")
    assert outcome["state"] == "finished", outcome
    runs.write_exit(made, **outcome, code=0)
    return made


def fake_profile(**layers) -> pd.DataFrame:
    """A profile like those of `run_reader.profile_of`. layers: layer -> APoZ."""
    rows = [(name, i, i, value) for name, apoz in layers.items() for i, value in enumerate(apoz)]
    return pd.DataFrame(rows, columns=["layer", "neuron", "original_neuron", "apoz"])


def run_of(model: str, folder: Path, **more) -> str:
    """A real run that only profiles its untrained base."""
    asked = spec.parse({"model": model, "base": {"epochs": 0}, "device": "cpu", **more})
    return real_run(folder, asked).name


def recorded(folder: Path) -> list[dict]:
    """All events of a run."""
    return list(runs.read_events(folder))


def fake_branch(folder: Path, parent: str, iteration: int) -> str:
    """A run that branched from an iteration of another."""
    made = fake_run(folder, {}, NARROWER[1:], [0.98])
    asked = spec.load(folder / made / "spec.toml")
    begun = asked.model_copy(update={"parent": spec.Parent(run=parent, iteration=iteration)})
    (folder / made / "spec.toml").write_text(spec.dumps(begun), "utf-8")
    return made


def active_run(folder: Path, name="mine", **values) -> str:
    """A run that counts as active, because this process is recorded as its trainer."""
    made = control.prepare_run(spec.parse({"device": "cpu", "name": name}), folder)
    me = processes.identity()
    runs.update_status(made, **RUNNING | {"supervisor": me, "trainer": me, "heartbeat": time.time(), **values})
    return made.name


def halved_run(folder: Path, **values) -> str:
    """A finished run that is 2.5 times smaller."""
    return fake_run(folder, {"name": "mine", **values}, HALVED, [0.99, 0.987])


def _profiled(width: int, more: Mapping) -> dict:
    return {
        "kind": "conv", "width": width, "parameters": 100 * width, "macs": 100 * width,
        "apoz": [k / width for k in range(width)], "original": list(range(width)),
        **{key: value(width) if callable(value) else value for key, value in more.items()},
    }  # fmt: skip
