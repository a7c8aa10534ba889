"""The network as a file, from the Report page: what is offered is there, checked, and of this network."""

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

from dashboard import exports
from tests.dashboard.fakes import real_run
from trimcore import models, runs, tables
from trimcore.cli.main import main
from trimcore.errors import RunError
from trimcore.files import checkpoint

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny) -> Path:
    """A run of two iterations, made once."""
    return real_run(tmp_path_factory.mktemp("runs"), tiny)


@pytest.fixture
def run(finished, runs_folder) -> Path:
    return Path(shutil.copytree(finished, runs_folder / finished.name))


@pytest.fixture
def in_process(monkeypatch):
    """The command line in this process: seconds less than in one of its own."""

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
    app.switch_page("views/report.py").run()
    assert not app.exception, app.exception
    return app


def captions(app: AppTest) -> str:
    return "\n".join(caption.value for caption in app.caption)


def test_a_prepared_file_computes_what_the_run_made(run):
    made = exports.prepare(run, 1, "onnx")
    assert made.path == (run / "exports" / "iteration-01.onnx").resolve()
    assert made.said.startswith(("differs from the network in memory by at most", "computes exactly"))
    original = checkpoint.load(runs.checkpoint_path(run, 1))
    x = torch.randn_like(models.example_input(original.arguments, 3))
    scores = onnxruntime.InferenceSession(made.path).run(None, {"images": x.numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(scores), original.build().eval()(x), rtol=1e-4, atol=1e-4)


def test_what_is_there_is_offered_until_the_network_changes(run, in_process):
    assert exports.found(run, 2, "safetensors") is None
    made = exports.prepare(run, 2, "safetensors")
    assert exports.found(run, 2, "safetensors").said == made.said
    assert exports.found(run, 1, "safetensors") is None
    assert exports.found(run, 2, "onnx") is None
    later = made.path.stat().st_mtime_ns + 1
    os.utime(runs.checkpoint_path(run, 2), ns=(later, later))
    assert exports.found(run, 2, "safetensors") is None
    (run / "exports" / "iteration-02.safetensors.txt").unlink()
    assert exports.found(run, 2, "safetensors") is None


def test_what_goes_wrong_is_one_line(run, in_process):
    runs.checkpoint_path(run, 1).write_bytes(b"damaged")
    with pytest.raises(RunError, match="is not a checkpoint of plain weights") as error:
        exports.prepare(run, 1, "state_dict")
    assert "\n" not in str(error.value)
    (run / "exports").write_text("a file where the folder should be")
    with pytest.raises(RunError, match="cannot write"):
        exports.prepare(run, 2, "state_dict")


def test_an_export_that_never_ends_is_ended(run, monkeypatch):
    monkeypatch.setattr(exports, "LIMIT", 0.01)
    with pytest.raises(RunError, match="took longer than"):
        exports.prepare(run, 2, "state_dict")


def test_the_page_prepares_offers_and_tells_the_difference(run, in_process):
    app = report(run)
    assert "Read back" not in captions(app)
    next(box for box in app.selectbox if box.label == "Format").select("safetensors").run()
    app.button[[b.label for b in app.button].index("Prepare")].click().run()
    assert not app.exception
    said = exports.found(run, 2, "safetensors").said
    assert said.startswith(("differs from the network in memory by at most", "computes exactly"))
    assert f"Read back, it {said}." in captions(app)
    assert (run / "exports" / "iteration-02.safetensors").is_file()
    again = report(run)
    assert "Read back" not in captions(again), "another format is shown at first"
    next(box for box in again.selectbox if box.label == "Format").select("safetensors").run()
    assert "Read back" in captions(again), "it is there already"


def test_the_page_says_in_one_line_why_there_is_no_file(run, in_process):
    runs.checkpoint_path(run, 2).unlink()
    app = report(run)
    app.button[[b.label for b in app.button].index("Prepare")].click().run()
    assert "there is no checkpoint" in app.error[0].value


def test_the_page_tells_what_was_computed_and_what_was_measured(run):
    row = tables.iterations(list(runs.read_events(run))).iloc[-1]
    assert (
        f"MACs ratio {row.macs_ratio:.1f}×, measured {row.latency_ratio:.1f}× (batch 32), "
        f"{row.latency_1_ratio:.1f}× (batch 1)"
    ) in captions(report(run))


def test_runs_that_were_not_timed_against_the_base_are_shown(run):
    text = (run / "events.jsonl").read_text("utf-8")
    for column in ("latency_ratio", "latency_1_ms", "latency_1_ratio"):
        text = text.replace(f'"{column}"', f'"not_{column}"')
    (run / "events.jsonl").write_text(text, "utf-8")
    app = report(run)
    assert "MACs ratio" in captions(app)
    assert "measured" not in captions(app)
    assert "(batch" not in captions(app)
    app.switch_page("views/compare.py").run()
    assert not app.exception
