"""Event files for TensorBoard: what they say is what the CSVs say, once, and a failure to write them ends nothing."""

import importlib.util
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from trimcore import runs, tables
from trimcore.cli.main import main
from trimcore.errors import TrimError
from trimcore.jobs import control, event_files
from trimcore.jobs.worker import carry_out
from trimcore.runs.archive import pack, unpack
from trimcore.spec import dumps
from trimcore.tables.metric import Metric

pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter


@pytest.fixture
def prepared(runs_folder, make_spec) -> Path:
    """The folder of a run that writes event files: two epochs of the base, and two iterations of one epoch."""
    return control.prepare_run(make_spec(log={"tensorboard": True}), runs_folder)


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every point that TensorBoard shows: tag -> (step, value)."""
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def expected(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What they must be, from the run's tables."""
    events = list(runs.read_events(folder))
    epochs, rows = tables.epochs(events), pd.read_csv(folder / "iterations.csv")
    wanted = {
        "training/loss": epochs.loss, "training/learning_rate": epochs.lr,
        "validation/accuracy": epochs.validation_metric,
    }  # fmt: skip
    found = {tag: list(enumerate(column, 1)) for tag, column in wanted.items()}
    for tag, column in (("network/compression", "compression"), ("network/parameters", "parameters"),
                        ("network/macs", "macs"), ("test/accuracy_initial", "metric_initial"),
                        ("test/accuracy_final", "metric_final")):  # fmt: skip
        shown = rows[rows[column].notna()]
        found[tag] = list(zip(shown.iteration, shown[column], strict=True))
    history = tables.history(events)
    for layer, own in history.groupby("layer"):
        found[f"apoz/{layer}"] = list(zip(own.iteration, own.apoz_mean, strict=True))
    return found


def assert_same(folder: Path) -> None:
    shown, wanted = points(folder), expected(folder)
    assert shown.keys() == wanted.keys()
    for tag, rows in wanted.items():
        assert [step for step, _ in shown[tag]] == [step for step, _ in rows], tag
        assert [value for _, value in shown[tag]] == pytest.approx([value for _, value in rows], rel=1e-6), tag


def test_the_points_are_those_of_the_tables(prepared):
    assert carry_out(prepared)["state"] == "finished"
    assert_same(prepared)
    shown = points(prepared)
    assert [step for step, _ in shown["training/loss"]] == [1, 2, 3, 4]
    assert [step for step, _ in shown["network/parameters"]] == [0, 1, 2]
    assert [step for step, _ in shown["test/accuracy_initial"]] == [1, 2], "the base has none"
    layers = pd.read_csv(prepared / "layers.csv").query("layer == 'fc1' and iteration > 0")
    assert [value for _, value in shown["apoz/fc1"]][:2] == pytest.approx(layers.apoz_mean.tolist(), abs=1e-6)
    assert len(list((prepared / "tensorboard").iterdir())) == 1


@pytest.mark.parametrize("kind", ["epoch", "iteration", "profiled"])
def test_a_resumed_run_has_every_point_once(prepared, kind):
    """Stopped in the middle, and resumed from the resume point before: an epoch is repeated."""
    seen = []

    def stop(event):
        seen.append(event.kind)
        if seen.count(kind) == 2:
            runs.request(prepared, "stop")

    assert carry_out(prepared, stop)["state"] == "stopped"
    (prepared / "request.json").unlink()
    (prepared / "checkpoints" / "resume.pt").write_bytes(b"torn")
    assert carry_out(prepared)["state"] == "finished"
    assert len(list((prepared / "tensorboard").iterdir())) > 1
    assert_same(prepared)


def fail(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "break_it",
    [
        lambda folder, patch: patch.setattr(RecordWriter, "write", fail),
        lambda folder, patch: patch.setattr(RecordWriter, "flush", fail),
        lambda folder, patch: (folder / "tensorboard").write_text("a file where the folder should be"),
        lambda folder, patch: patch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None),
    ],
    ids=["full disk", "full disk at the flush", "no folder", "the package was removed"],
)
def test_training_goes_on_if_they_cannot_be_written(prepared, make_spec, csvs_of, monkeypatch, break_it):
    whole = control.prepare_run(make_spec(), prepared.parent)
    carry_out(whole)
    break_it(prepared, monkeypatch)
    assert carry_out(prepared, log=prepared / "log.txt")["state"] == "finished"
    (note,) = (event["text"] for event in runs.read_events(prepared, ("note",)))
    assert note.startswith("no more TensorBoard files are written: ")
    assert f"WARNING {note}" in (prepared / "log.txt").read_text("utf-8")
    assert "Traceback" not in (prepared / "log.txt").read_text("utf-8")
    assert csvs_of(prepared) == csvs_of(whole)


def test_a_disk_that_fills_up_later_keeps_the_points_so_far(prepared, monkeypatch):
    write, calls = RecordWriter.write, []

    def full_later(writer, data):
        calls.append(data)
        return write(writer, data) if len(calls) < 5 else fail()

    monkeypatch.setattr(RecordWriter, "write", full_later)
    assert carry_out(prepared)["state"] == "finished"
    assert [step for step, _ in points(prepared)["training/loss"]] == [1, 2]
    assert len(calls) == 5, "nothing is tried after that"


def test_without_the_key_nothing_is_written(runs_folder, tiny):
    folder = control.prepare_run(tiny, runs_folder)
    carry_out(folder)
    assert not (folder / "tensorboard").exists()


def test_a_missing_package_is_said_before_anything_starts(runs_folder, make_spec, tmp_path, monkeypatch, capfd):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else found(name))
    asked = make_spec(log={"tensorboard": True})
    with pytest.raises(TrimError, match="pip install tensorboard"):
        control.prepare_run(asked, runs_folder)
    assert not runs_folder.exists()
    (tmp_path / "spec.toml").write_text(dumps(asked), "utf-8")
    monkeypatch.setattr(sys, "argv", ["trimcore", "run", str(tmp_path / "spec.toml")])
    assert main() == 2
    assert capfd.readouterr().err == "trimcore: log.tensorboard = true needs a package: pip install tensorboard\n"


def test_they_are_packed_unpacked_and_deleted_with_the_run(prepared, tmp_path):
    carry_out(prepared)
    runs.write_exit(prepared, "finished", "")
    (prepared / "tensorboard" / "notes.txt").write_text("not a file of a run")
    pack(prepared, tmp_path / "run.zip")
    run_id, ignored = unpack(tmp_path / "run.zip", tmp_path / "there")
    assert ignored == []
    assert points(tmp_path / "there" / run_id) == points(prepared)
    assert not (tmp_path / "there" / run_id / "tensorboard" / "notes.txt").exists()
    runs.delete(prepared.parent, prepared.name)
    assert not prepared.exists()


@pytest.mark.parametrize("name", ["tensorboard", "tensorboard/x.py", "tensorboard/sub/events.out.tfevents.1.a.2",
                                  "tensorboard/../events.out.tfevents.1"])  # fmt: skip
def test_other_files_of_an_archive_stay_out(prepared, tmp_path, name):
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
        archive.writestr("mine/spec.toml", "")
        archive.writestr(f"mine/{name}", "anything")
    run_id, ignored = unpack(tmp_path / "run.zip", tmp_path / "there")
    assert ignored == [f"mine/{name}"]
    assert sorted(path.name for path in (tmp_path / "there" / run_id).iterdir()) == [
        "brought.json", "checkpoints", "spec.toml",
    ]  # fmt: skip


def test_a_run_whose_folder_is_a_link_is_not_opened(prepared, tmp_path):
    (prepared / "tensorboard").symlink_to(tmp_path)
    assert runs.list_runs(prepared.parent) == []


def test_points_of_other_metrics_and_of_layers_without_activation():
    error = Metric("mean error", higher_is_better=False, percent=False)
    epoch = {"kind": "epoch", "phase": "base", "iteration": 0, "epoch": 1, "loss": 0.5, "lr": 0.1, "metric": None,
             "validation_metric": 2.0}  # fmt: skip
    assert event_files.scalars(epoch, error) == {
        "training/loss": 0.5, "training/learning_rate": 0.1, "validation/mean error": 2.0,
    }  # fmt: skip
    profiled = {"kind": "profiled", "iteration": 0, "layers": {"a": {"apoz": [0.5, 1.0]}, "b": {"apoz": [None]}}}
    assert event_files.scalars(profiled, error) == {"apoz/a": 0.75}
    assert event_files.scalars({"kind": "note", "text": ""}, error) == {}
    assert event_files._tag("validation/mean error") == "validation/mean_error"
