"""Run a spec in this process, and compare its events."""

import io
from pathlib import Path

import torch

from trimcore import runs, tables
from trimcore.files import checkpoint
from trimcore.files.checkpoint import Checkpoint
from trimcore.training.loop import trim

TIMES = (
    "seconds", "latency_ms", "latency_ratio", "latency_1_ms", "latency_1_ratio", "images_per_second", "time", "resumed",
)  # fmt: skip
UNTRAINED = {"base": {"epochs": 0}, "retrain": {"epochs": 0}}


def carry_out(spec, **where) -> tuple[list[dict], list[tuple[int, dict]], dict[int, Checkpoint]]:
    """The recorded events, the snapshots with the number of events before each, and a checkpoint per iteration."""
    events, snapshots, made = [], [], {}
    for event in trim(spec, **where):
        if event.recorded:
            events.append({"kind": event.kind, **event.data})
        if event.payload:
            content = event.payload()
            if event.kind == "iteration":
                made[event.data["iteration"]], content = content
            snapshots.append((len(events), content))
    return events, snapshots, made


def of_kind(events: list[dict], kind: str) -> list[dict]:
    return [event for event in events if event["kind"] == kind]


def cuts(events: list[dict], layer: str) -> list[list[int]]:
    """The removed neurons of a layer in each iteration, by their index in the base model."""
    return [event["layers"][layer]["original"] for event in of_kind(events, "pruned")]


def step(*layers: str, rule: str = "count", value: float = 3, **more) -> dict:
    return {"layers": list(layers), "rule": rule, "value": value, **more}


def timeless(events: list[dict]) -> list[dict]:
    return [{key: value for key, value in event.items() if key not in TIMES} for event in events]


def timeless_csvs(events: list[dict]) -> dict[str, str]:
    return tables.csv_texts([{**event, **{k: 0 for k in TIMES if k in event}} for event in events])


def assert_resumes_identically(spec, through_file: bool = True, every: int = 1) -> int:
    whole, snapshots, made = carry_out(spec)
    for count, snapshot in snapshots[::every]:
        if through_file:
            buffer = io.BytesIO()
            torch.save(snapshot, buffer)
            snapshot = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
        events, later, made_again = carry_out(spec, resume=snapshot)
        assert timeless(events[-1:]) == timeless(whole[-1:])
        assert timeless(of_kind(events, "control")) == timeless(of_kind(whole, "control"))
        assert timeless_csvs(whole[:count] + events) == timeless_csvs(whole)
        assert tables.epochs(timeless(whole[:count] + events)).equals(tables.epochs(timeless(whole)))
        for iteration, again in made_again.items():
            assert all(torch.equal(t, made[iteration].state[name]) for name, t in again.state.items())
        last, expected = (later or [(0, snapshot)])[-1][1], snapshots[-1][1]
        assert last["checkpoint"]["state"].keys() == expected["checkpoint"]["state"].keys()
        assert all(torch.equal(t, expected["checkpoint"]["state"][n]) for n, t in last["checkpoint"]["state"].items())
    return len(snapshots)


def save_parent(made: Checkpoint, folder: Path) -> dict:
    """Write a run "mother" with this one iteration. Returns the [parent] of a spec that starts from it."""
    path = runs.checkpoint_path(folder / "mother", made.iteration)
    path.parent.mkdir(parents=True)
    (folder / "mother" / "spec.toml").write_text(f'model = "{made.model}"\n')
    checkpoint.save(made, path)
    return {"run": "mother", "iteration": made.iteration}
