"""`trimcore changes`, compared with a run's own accuracies and with its networks."""

import sys

import pandas as pd
import pytest

from trimcore import runs, spec
from trimcore.cli.main import main
from trimcore.evaluation import changes, corruptions
from trimcore.jobs import control
from trimcore.jobs.worker import carry_out
from trimcore.training.prepare import open_iteration


@pytest.fixture(scope="module")
def folder(make_spec, tmp_path_factory):
    """The folder of a finished run with two large cuts and no retraining, on a folder of pictures."""
    step = {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.7, "iterations": 2}
    made = control.prepare_run(make_spec(step=[step], retrain={"epochs": 0}), tmp_path_factory.mktemp("runs"))
    carry_out(made)
    runs.write_exit(made, "finished", "")
    return made


@pytest.fixture
def run(monkeypatch, capfd, folder):
    def call(*arguments) -> tuple[int, str, str]:
        asked = ["changes", folder.name, *map(str, arguments), "--runs", str(folder.parent)]
        monkeypatch.setattr(sys, "argv", ["trimcore", *asked])
        capfd.readouterr()
        code = main()
        return code, *capfd.readouterr()

    return call


def test_it_writes_a_row_for_each_image_and_a_summary(run, folder, tmp_path):
    code, text, err = run("--split", "validation", "--corruptions", "--out", tmp_path / "out")
    assert code == 0, err
    table = pd.read_csv(tmp_path / "out" / "changes.csv", keep_default_na=False)
    assert list(table.columns) == ["image", "file", *changes.COLUMNS[1:]]
    base, found = (open_iteration(folder.parent, folder.name, iteration) for iteration in (0, 2))
    split = found.data.validation
    wanted = changes.compare(base.graph.model, found.graph.model, split, found.data, "cpu")
    assert table.image.tolist() == wanted.image.tolist()
    assert table.change.tolist() == wanted.change.tolist()
    assert table.label.tolist() == [found.data.classes[number] for number in wanted.label]
    number = int((table.change != "").sum())
    assert number > 0
    assert f"iteration 2 answers {number} of {len(split)} validation images differently from the base: " in text
    first = changes.pairs(table).iloc[0]
    assert f"{first.base_answer} -> {first.trimmed_answer}: {first.images}" in text
    measured = pd.read_csv(tmp_path / "out" / "corruptions.csv", keep_default_na=False)
    assert list(measured.columns) == corruptions.COLUMNS
    recorded = {e["iteration"]: e["validation_accuracy"] for e in runs.read_events(folder) if e["kind"] == "iteration"}
    assert measured.base_accuracy[0] == pytest.approx(recorded[0], abs=1e-6)
    assert measured.trimmed_accuracy[0] == pytest.approx(recorded[2], abs=1e-6)


def test_the_first_images_of_another_iteration(run, tmp_path):
    code, text, err = run("--iteration", 1, "--limit", 7, "--out", tmp_path)
    assert code == 0, err
    assert "iteration 1 answers " in text
    assert " of 7 test images differently" in text
    assert sorted(pd.read_csv(tmp_path / "changes.csv").image) == list(range(7))
    assert not (tmp_path / "corruptions.csv").exists()


def test_the_base_against_itself(run, tmp_path):
    code, text, _ = run("--iteration", 0, "--out", tmp_path)
    assert code == 0
    assert "iteration 0 answers 0 of 20 test images differently" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--iteration", "9"], "iteration-09.pt"),
        (["--split", "train"], "'train' is not one of 'test', 'validation'"),
        (["--out", __file__], "it is a file; --out must name a folder"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, arguments, message):
    code, _, err = run("--out", tmp_path, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_another_task_is_refused(run, folder, tmp_path, monkeypatch):
    asked = spec.load(folder / "spec.toml").model_copy(update={"task": "regression"})
    monkeypatch.setattr("trimcore.training.prepare.load", lambda path: asked)
    monkeypatch.setattr("trimcore.training.prepare.for_task", lambda data, task: data)
    code, _, err = run("--out", tmp_path)
    assert code == 2
    assert "answers are compared for a classification; this run's task is regression" in err
