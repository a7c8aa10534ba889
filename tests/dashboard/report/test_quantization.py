"""The section INT8 of the page Report: measured on request, kept in the run folder, shown again."""

import importlib.util
import io
import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pandas as pd
import pytest

from dashboard.report import exports, quantization
from tests.dashboard.fakes import real_run
from tests.dashboard.pages import button, click, page, texts
from trimcore import runs, spec
from trimcore.cli.main import main
from trimcore.evaluation.quantized import COLUMNS

ROWS = [
    ["base", 0, "float", 0.99, 1_700_000, 0.25, 2.5, 16], ["base", 0, "INT8", 0.985, 450_000, 0.125, 1.25, 16],
    ["trimmed", 2, "float", 0.98, 300_000, 0.1, 1.0, 16], ["trimmed", 2, "INT8", 0.95, 80_000, 0.05, 0.5, 16],
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny) -> Path:
    """A run with two iterations, created once."""
    return real_run(tmp_path_factory.mktemp("runs"), tiny)


@pytest.fixture
def run(finished, runs_folder) -> Path:
    return Path(shutil.copytree(finished, runs_folder / finished.name))


@pytest.fixture
def in_process(monkeypatch) -> list[list[str]]:
    """Run the command line in this process, which saves seconds. Returns the commands."""
    commands = []

    def carry_out(command, **settings) -> subprocess.CompletedProcess:
        commands.append(command)
        monkeypatch.setattr(sys, "argv", command[2:])
        out, wrong = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(wrong):
            code = main()
        return subprocess.CompletedProcess(command, code, out.getvalue(), wrong.getvalue())

    monkeypatch.setattr(exports.subprocess, "run", carry_out)
    return commands


def measured(run: Path, rows: list[list] = ROWS) -> Path:
    """The run with a table that was measured before."""
    pd.DataFrame(rows, columns=COLUMNS).to_csv(run / "quantization.csv", index=False)
    return run


def table_of(app) -> pd.DataFrame | None:
    return next((table.value for table in app.dataframe if "numbers" in table.value.columns), None)


def labels(app) -> list[str]:
    return [each.label for each in app.button]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_button_measures_and_the_table_stays(run, in_process):
    app = page("report", run=run.name)
    assert table_of(app) is None
    click(app, "Measure INT8 (about ")
    table = table_of(app)
    assert table.numbers.tolist() == ["float", "INT8", "float", "INT8"]
    assert table.iteration.tolist() == [0, 0, 2, 2]
    assert (run / "exports" / "iteration-02.int8.onnx").is_file()
    assert len(in_process) == 1
    again = page("report", run=run.name)
    assert table_of(again).equals(table)
    assert not [label for label in labels(again) if label.startswith("Measure INT8")]
    assert "quantization.csv" in [each.proto.label for each in again.get("download_button")]
    assert len(in_process) == 1, "it is read from the run folder"


def test_the_table_and_its_warning_are_shown(run):
    app = page("report", run=measured(run).name)
    shown = table_of(app)
    names = ["network", "iteration", "numbers", "accuracy", "bytes", "ms, 1 image", "ms, 16 images"]
    assert list(shown.columns) == names
    assert shown["ms, 16 images"].tolist() == [2.5, 1.25, 1.0, 0.5]
    assert "INT8 costs the trimmed network 3.0 percentage points of accuracy" in app.warning[0].value
    assert "base network" not in app.warning[0].value


@pytest.mark.parametrize(
    "change",
    [
        lambda run: (run / "quantization.csv").write_text("damaged\n1,2,3"),
        lambda run: (run / "quantization.csv").write_bytes(b"\xff\xfe\x00"),
        lambda run: measured(run, ROWS[:2]),
        lambda run: measured(run, [[name, 1 if k else 0, *rest] for name, k, *rest in ROWS]),
        lambda run: measured(run, [[*row[:3], "=1+1", *row[4:]] for row in ROWS]),
        lambda run: os.utime(runs.checkpoint_path(run, 2), ns=(1 << 62, 1 << 62)),
    ],
    ids=["damaged", "binary", "short", "of another iteration", "no numbers", "older"],
)
def test_a_table_that_does_not_belong_to_the_network_is_not_shown(run, change):
    change(measured(run))
    app = page("report", run=run.name)
    assert table_of(app) is None
    assert button(app, "Measure INT8")


def test_an_error_is_one_line(run, in_process):
    runs.checkpoint_path(run, 0).write_bytes(b"damaged")
    app = page("report", run=run.name)
    click(app, "Measure INT8")
    assert "is not a checkpoint with plain weights" in app.error[0].value


def test_missing_packages_are_named_with_the_command(run, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: None if name == "onnx" else found(name))
    app = page("report", run=run.name)
    assert "INT8 needs packages that are not installed: `pip install onnx`" in texts(app)
    assert not [label for label in labels(app) if label.startswith("Measure INT8")]


def test_other_tasks_have_no_button(run):
    asked = spec.load(run / "spec.toml").model_copy(update={"task": "segmentation"})
    (run / "spec.toml").write_text(spec.dumps(asked), "utf-8")
    app = page("report", run=run.name)
    assert "it needs a classification. This run's task is segmentation" in texts(app)
    assert not [label for label in labels(app) if label.startswith("Measure INT8")]


def test_the_estimate_grows_with_the_test_split():
    events = [
        {"kind": "started", "splits": {"train": 1, "validation": 1, "test": 1000}},
        {"kind": "iteration", "iteration": 0, "latency_1_ms": 2.0},
    ]
    assert quantization.about_seconds(events) == round(quantization.FIXED_SECONDS + (4 * 1000 + 2 * 256) * 2.0 / 1000)
    assert quantization.about_seconds(events[1:]) == round(quantization.FIXED_SECONDS + 2 * 256 * 2.0 / 1000)


def test_scripts_come_in_a_zip_file(run, in_process):
    app = page("report", run=run.name)
    next(box for box in app.checkbox if box.label == "With scripts").check().run()
    assert "--format state_dict --out trimmed.pt --script" in app.code[0].value
    click(app, "Export")
    made = exports.existing(run, 2, "state_dict", scripts=True)
    assert made.name == "iteration-02.pt.zip"
    names = zipfile.ZipFile(io.BytesIO(made.content())).namelist()
    assert names == ["iteration-02.pt", "time_export.py", "load_network.py", "iteration-02.architecture.pt2"]
    (run / "exports" / "iteration-02.architecture.pt2").unlink()
    assert exports.existing(run, 2, "state_dict", scripts=True) is None
    assert exports.existing(run, 2, "state_dict").content() == made.path.read_bytes()
