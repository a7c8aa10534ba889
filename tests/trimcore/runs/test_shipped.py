"""The example that comes with trimcore: a finished run, whole and read-only."""

import hashlib

import pytest
import torch

from trimcore import runs, spec, tables
from trimcore.errors import RunError
from trimcore.files import checkpoint
from trimcore.jobs import control
from trimcore.training.loop import trim
from trimcore.training.prepare import prepare


def example(folder):
    return runs.open_run(folder, runs.EXAMPLE)


def test_it_opens_where_there_are_no_runs(tmp_path):
    status = runs.state_of(example(tmp_path / "nowhere"))
    assert (status.state, status.active) == ("finished", False)
    assert runs.list_runs(tmp_path) == []


def test_a_run_of_ones_own_with_its_name_comes_first(tmp_path):
    own = tmp_path / runs.EXAMPLE
    own.mkdir()
    (own / "spec.toml").write_text('model = "lenet5"\n')
    assert example(tmp_path) == own
    assert not runs.is_shipped(own)


def test_its_tables_are_those_of_its_events(tmp_path):
    folder = example(tmp_path)
    texts = tables.csv_texts(list(runs.read_events(folder)))
    assert {name: (folder / name).read_text("utf-8") for name in texts} == texts


def test_its_checkpoints_are_those_of_its_events(tmp_path):
    folder = example(tmp_path)
    done = tables.latest(runs.read_events(folder), "iteration")
    for iteration, event in done.items():
        made = checkpoint.load(runs.checkpoint_path(folder, iteration))
        assert made.widths == event["widths"]
        assert sum(value.numel() for value in made.state.values() if isinstance(value, torch.Tensor)) == (
            event["parameters"])  # fmt: skip


def test_it_says_nothing_about_the_machine_that_made_it(tmp_path):
    folder = example(tmp_path)
    for name in ("status.json", "log.txt", "events.jsonl", "brought.json"):
        text = (folder / name).read_text("utf-8")
        assert '"pid"' not in text
        assert '"/' not in text, f"{name} names a folder"


def test_it_cannot_be_changed(tmp_path):
    folder = example(tmp_path)
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}
    for act in (
        lambda: runs.delete(tmp_path, runs.EXAMPLE),
        lambda: runs.write_notes(tmp_path, runs.EXAMPLE, runs.Notes("mine")),
        lambda: control.resume(tmp_path, runs.EXAMPLE),
        lambda: control.ask(tmp_path, runs.EXAMPLE, "stop"),
    ):
        with pytest.raises(RunError):
            act()
    assert before == {
        path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    }


def test_a_run_can_branch_from_it(tmp_path):
    asked = spec.load(example(tmp_path) / "spec.toml").model_dump(exclude_none=True)
    branch = spec.parse({**asked, "parent": {"run": runs.EXAMPLE, "iteration": 5}})
    made = control.prepare_run(branch, tmp_path)
    assert runs.parent_of(made / "spec.toml") == (runs.EXAMPLE, 5)


def test_a_branch_of_it_starts_from_its_weights(tmp_path):
    asked = spec.parse({"model": "lenet5", "data": "mnist-5k", "parent": {"run": runs.EXAMPLE, "iteration": 5}})
    start = prepare(asked, tmp_path).state.network
    wanted = checkpoint.load(runs.checkpoint_of(tmp_path, runs.EXAMPLE, 5))
    assert checkpoint.widths_of(start) == wanted.widths
    assert all(torch.equal(value.cpu(), wanted.state[name]) for name, value in start.state_dict().items())


def test_a_branch_of_it_runs_to_its_end(tmp_path):
    asked = spec.parse({
        "model": "lenet5", "data": "mnist-5k", "device": "cpu", "parent": {"run": runs.EXAMPLE, "iteration": 5},
        "step": [{"rule": "count", "value": 5, "layers": ["fc1"]}], "retrain": {"epochs": 0},
    })  # fmt: skip
    done = [event.data["widths"]["fc1"] for event in trim(asked, runs=tmp_path) if event.kind == "iteration"]
    assert done == [30, 25]
