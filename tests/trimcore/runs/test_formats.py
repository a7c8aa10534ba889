"""Run folders of every earlier version can be read: state, tables and networks, and a branch from them."""

import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.dashboard.pages import page
from trimcore import runs, spec, tables
from trimcore.files import checkpoint
from trimcore.jobs import control, resume_points, worker
from trimcore.training.state import restore

FORMATS = sorted((Path(__file__).parents[2] / "formats").glob("*.zip"))


@pytest.fixture(params=FORMATS, ids=[path.stem for path in FORMATS])
def run(request, runs_folder) -> Path:
    """A run folder in that format, as if it had been copied here."""
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(runs_folder)
    return runs.open_run(runs_folder, runs.list_runs(runs_folder)[0])


def test_every_format_is_listed_in_the_readme():
    listed = (FORMATS[0].parent / "README.md").read_text("utf-8")
    assert [path.name for path in FORMATS] == sorted(line.split(" | ")[0][2:] for line in listed.splitlines()
                                                     if line.startswith("| ") and ".zip" in line)  # fmt: skip


def test_state_spec_and_result(run):
    status = runs.state_of(run)
    assert (status.state, status.progress, status.active) == ("finished", 1.0, False)
    asked = spec.load(run / "spec.toml")
    assert (asked.name, asked.model, len(asked.step)) == ("kept for tests", "lenet5", 2)
    assert runs.result_of(run) == 2


def test_the_tables_match_those_written_by_the_old_version(run):
    """Columns added later are empty."""
    texts = tables.csv_texts(list(runs.read_events(run)))
    for path in run.glob("*.csv"):
        (run / "now.csv").write_text(texts[path.name])
        then, now = pd.read_csv(path), pd.read_csv(run / "now.csv")
        assert len(now) == len(then)
        pd.testing.assert_frame_equal(now[then.columns], then)
        (run / "now.csv").unlink()


def test_the_network_can_be_rebuilt_and_run(run):
    made = checkpoint.load(runs.checkpoint_path(run, 2))
    network = made.build().eval()
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 4)
    assert made.widths == {"conv1": 2, "conv2": 4, "fc1": 4, "fc2": 4}
    assert (made.activations, made.units, made.sparse) == ("", {}, [])


def test_the_resume_point_can_be_read(run):
    snapshot, said = resume_points.find(run)
    state = restore(snapshot)
    assert said == ""
    assert (state.phase, state.iteration, state.result) == ("cut", 2, 2)


def test_a_branch_can_start_from_it(run, runs_folder, make_spec):
    asked = make_spec(parent={"run": run.name, "iteration": 2}, step=[])
    folder = control.prepare_run(asked, runs_folder)
    assert worker.carry_out(folder)["state"] == "finished"
    first = next(runs.read_events(folder, ("iteration",)))
    state = checkpoint.load(runs.checkpoint_path(run, 2)).state
    assert first["parameters"] == sum(tensor.numel() for tensor in state.values())


@pytest.mark.parametrize("name", ["profile", "plan", "run", "compare", "report"])
def test_the_dashboard_pages_show_it(run, name):
    app = page(name, run=run.name)
    assert not app.error
