"""`trimcore export` with INT8, scripts and times, compared with what the run recorded."""

import csv
import sys
from types import SimpleNamespace

import pytest

from trimcore import runs
from trimcore.cli import runtimes
from trimcore.cli.main import main
from trimcore.evaluation import quantized
from trimcore.evaluation.runtimes import RuntimeLatency
from trimcore.files import checkpoint
from trimcore.jobs import control
from trimcore.jobs.worker import carry_out

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def folder(make_spec, tmp_path_factory):
    """The folder of a finished run with two iterations."""
    made = control.prepare_run(make_spec(), tmp_path_factory.mktemp("runs"))
    carry_out(made)
    runs.write_exit(made, "finished", "")
    return made


@pytest.fixture
def export(monkeypatch, capfd, folder):
    def call(*arguments) -> tuple[int, str, str]:
        asked = ["export", folder.name, *map(str, arguments), "--runs", str(folder.parent)]
        monkeypatch.setattr(sys, "argv", ["trimcore", *asked])
        capfd.readouterr()
        code = main()
        return code, *capfd.readouterr()

    return call


def test_int8_prints_and_writes_four_rows(export, folder, tmp_path):
    out = tmp_path / "a.int8.onnx"
    code, text, err = export("--format", "onnx-int8", "--out", out, "--csv", tmp_path / "t.csv")
    assert code == 0, err
    first, header, *lines = text.splitlines()
    assert first == f"{out}: iteration 2, gives finite scores of the right shape"
    assert header.split() == ["network", "iteration", "numbers", "accuracy", "bytes", "ms", "ms,", "batch", "16"]
    order = [["base", "0", "float"], ["base", "0", "INT8"], ["trimmed", "2", "float"], ["trimmed", "2", "INT8"]]
    assert [line.split()[:3] for line in lines] == order
    with open(tmp_path / "t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == quantized.COLUMNS
    recorded = {e["iteration"]: e["accuracy_final"] for e in runs.read_events(folder) if e["kind"] == "iteration"}
    for row in rows:
        if row["numbers"] == "float":
            assert float(row["accuracy"]) == pytest.approx(recorded[int(row["iteration"])], abs=1e-6)
    sizes = [int(row["bytes"]) for row in rows]
    assert sizes[3] == out.stat().st_size
    assert sizes[0] > sizes[2] > sizes[1] > sizes[3]
    assert all(0 < float(row[name]) < 10_000 for row in rows for name in ("latency_1_ms", "latency_ms"))


def test_the_base_network_has_two_rows(export, tmp_path):
    code, text, _ = export("--format", "onnx-int8", "--out", tmp_path / "a.onnx", "--iteration", 0)
    assert code == 0
    assert [line.split()[:3] for line in text.splitlines()[2:]] == [["base", "0", "float"], ["base", "0", "INT8"]]


def test_a_loss_beyond_the_bound_is_a_warning_and_the_file_is_kept(export, tmp_path, monkeypatch):
    accuracies = iter([0.9, 0.9, 0.9, 0.8])
    monkeypatch.setattr(quantized, "evaluate", lambda *_: SimpleNamespace(accuracy=next(accuracies)))
    code, _, err = export("--format", "onnx-int8", "--out", tmp_path / "a.onnx")
    assert code == 0
    (line,) = [line for line in err.splitlines() if line.startswith("warning: ")]
    text = "INT8 costs the trimmed network 10.0 percentage points of accuracy (90.00% in float, 80.00% in INT8)"
    assert line == f"warning: {text}"
    assert (tmp_path / "a.onnx").exists()


def test_scripts_are_written_and_named(export, tmp_path):
    code, text, _ = export("--out", tmp_path / "a.pt", "--script")
    assert code == 0
    names = ["time_export.py", "load_network.py", "a.architecture.pt2"]
    assert text.splitlines()[1:] == [str(tmp_path / name) for name in names]
    assert all((tmp_path / name).is_file() for name in names)


def test_times_are_printed_with_reasons(export, folder, tmp_path, monkeypatch):
    asked = []

    def compare(network, example):
        asked.append((checkpoint.widths_of(network), tuple(example[0].shape)))
        return [RuntimeLatency("PyTorch", 1, 0.25), RuntimeLatency("OpenVINO", 1, None, "it is not installed"),
                RuntimeLatency("PyTorch", 16, 2.5), RuntimeLatency("OpenVINO", 16, None, "it is not installed")]

    monkeypatch.setattr(runtimes, "compare_runtimes", compare)
    code, text, _ = export("--out", tmp_path / "a.pt", "--time", "--iteration", 1)
    assert code == 0
    header, *lines = text.splitlines()[1:]
    assert header.split()[:3] == ["runtime", "batch", "ms"]
    assert [line.split() for line in lines[:2]] == [["PyTorch", "1", "0.250"], ["PyTorch", "16", "2.500"]]
    assert lines[2:] == ["OpenVINO: it is not installed"]
    assert asked == [(checkpoint.load(runs.checkpoint_path(folder, 1)).widths, (1, 3, 16, 16))]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--format", "onnx", "--csv", "t.csv"], "--csv writes the table of --format onnx-int8, not of onnx"),
        (["--format", "sparse", "--script"], "only trimcore reads sparse files"),
        (["--format", "onnx", "--script"], "it must end in .onnx, unlike 'out.bin'"),
        (["--format", "onnx-int8", "--iteration", 9], "there is no checkpoint"),
    ],
)
def test_a_user_error_is_one_line_and_writes_nothing(export, tmp_path, arguments, line):
    code, text, err = export(*arguments, "--out", tmp_path / "out.bin")
    assert (code, text) == (2, "")
    assert line in err
    assert len([row for row in err.splitlines() if row.startswith("trimcore:")]) == 1
    assert not (tmp_path / "out.bin").exists()


def test_a_missing_package_is_named(export, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, err = export("--format", "onnx-int8", "--out", tmp_path / "a.onnx")
    assert code == 2
    assert "trimcore: ONNX needs the package onnx: pip install onnx onnxscript onnxruntime" in err.splitlines()
