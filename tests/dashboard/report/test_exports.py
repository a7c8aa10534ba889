"""Exported networks on the page Report: the files exist, are checked, and match the network."""

import io
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import onnxruntime
import pytest
import torch
from streamlit.testing.v1 import AppTest

from dashboard.report import exports
from tests.dashboard.fakes import real_run
from tests.dashboard.pages import APP
from trimcore import models, runs, tables
from trimcore.cli.main import main
from trimcore.errors import RunError
from trimcore.files import checkpoint


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny) -> Path:
    """A run with two iterations, created once."""
    return real_run(tmp_path_factory.mktemp("runs"), tiny)


@pytest.fixture
def run(finished, runs_folder) -> Path:
    return Path(shutil.copytree(finished, runs_folder / finished.name))


@pytest.fixture
def in_process(monkeypatch):
    """Run the command line in this process, which saves seconds."""

    def carry_out(command, **settings) -> subprocess.CompletedProcess:
        monkeypatch.setattr(sys, "argv", command[2:])
        out, wrong = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(wrong):
            code = main()
        return subprocess.CompletedProcess(command, code, out.getvalue(), wrong.getvalue())

    monkeypatch.setattr(exports.subprocess, "run", carry_out)


def report(run: Path) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    app.run()
    app.session_state["run"] = run.name
    app.switch_page("report/page.py").run()
    assert not app.exception, app.exception
    return app


def captions(app: AppTest) -> str:
    return "\n".join(caption.value for caption in app.caption)


def test_an_exported_file_computes_the_same(run):
    made = exports.export(run, 1, "onnx")
    assert made.path == (run / "exports" / "iteration-01.onnx").resolve()
    assert made.check.startswith(("differs from the network in memory by at most", "computes exactly"))
    original = checkpoint.load(runs.checkpoint_path(run, 1))
    x = torch.randn_like(models.example_input(original.arguments, 3))
    scores = onnxruntime.InferenceSession(made.path).run(None, {"images": x.numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(scores), original.build().eval()(x), rtol=1e-4, atol=1e-4)


def test_an_existing_export_is_offered_until_the_network_changes(run, in_process):
    assert exports.existing(run, 2, "safetensors") is None
    made = exports.export(run, 2, "safetensors")
    assert exports.existing(run, 2, "safetensors").check == made.check
    assert exports.existing(run, 1, "safetensors") is None
    assert exports.existing(run, 2, "onnx") is None
    later = made.path.stat().st_mtime_ns + 1
    os.utime(runs.checkpoint_path(run, 2), ns=(later, later))
    assert exports.existing(run, 2, "safetensors") is None
    (run / "exports" / "iteration-02.safetensors.txt").unlink()
    assert exports.existing(run, 2, "safetensors") is None


def test_export_errors_are_one_line(run, in_process):
    runs.checkpoint_path(run, 1).write_bytes(b"damaged")
    with pytest.raises(RunError, match="is not a checkpoint with plain weights") as error:
        exports.export(run, 1, "state_dict")
    assert "\n" not in str(error.value)
    (run / "exports").write_text("a file where the folder should be")
    with pytest.raises(RunError, match="cannot write"):
        exports.export(run, 2, "state_dict")


def test_an_export_has_a_time_limit(run, monkeypatch):
    monkeypatch.setattr(exports, "LIMIT", 0.01)
    with pytest.raises(RunError, match="took longer than"):
        exports.export(run, 2, "state_dict")


def test_the_page_exports_offers_and_reports_the_difference(run, in_process):
    app = report(run)
    assert "was read back" not in captions(app)
    next(box for box in app.selectbox if box.label == "Format").select("safetensors").run()
    app.button[[b.label for b in app.button].index("Export")].click().run()
    assert not app.exception
    check = exports.existing(run, 2, "safetensors").check
    assert check.startswith(("differs from the network in memory by at most", "computes exactly"))
    assert f"The file was read back; it {check}." in captions(app)
    assert (run / "exports" / "iteration-02.safetensors").is_file()
    again = report(run)
    assert "was read back" not in captions(again), "another format is shown at first"
    next(box for box in again.selectbox if box.label == "Format").select("safetensors").run()
    assert "was read back" in captions(again), "it already exists"


def test_the_page_shows_a_one_line_export_error(run, in_process):
    runs.checkpoint_path(run, 2).unlink()
    app = report(run)
    app.button[[b.label for b in app.button].index("Export")].click().run()
    assert "there is no checkpoint" in app.error[0].value


def test_the_page_shows_computed_and_measured_ratios(run):
    row = tables.iterations(list(runs.read_events(run))).iloc[-1]
    assert (
        f"MACs ratio {row.macs_ratio:.1f}×, latency ratio {row.latency_ratio:.1f}× (batch 32), "
        f"{row.latency_1_ratio:.1f}× (batch 1)"
    ) in captions(report(run))


def test_runs_without_latency_ratios_are_shown(run):
    text = (run / "events.jsonl").read_text("utf-8")
    for column in ("latency_ratio", "latency_1_ms", "latency_1_ratio"):
        text = text.replace(f'"{column}"', f'"not_{column}"')
    (run / "events.jsonl").write_text(text, "utf-8")
    app = report(run)
    assert "MACs ratio" in captions(app)
    assert "latency ratio" not in captions(app)
    assert "(batch" not in captions(app)
    app.switch_page("compare/page.py").run()
    assert not app.exception
