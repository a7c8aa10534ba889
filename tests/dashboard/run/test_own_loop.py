"""The page Run of a training loop of the user's own, which no process of ours can pause or continue."""

import pytest
import torch
from torch import nn

import trimcore as tc
from tests.dashboard.pages import page, texts
from trimcore import runs
from trimcore.errors import RunError
from trimcore.jobs import control

EXAMPLE = torch.zeros(1, 4)


def recording() -> tc.record:
    metric = tc.Metric("MAE", higher_is_better=False, percent=False)
    return tc.record(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)), EXAMPLE, metric=metric, iterations=1)


def labels(app) -> list[str]:
    return [button.label for button in app.button]


def test_it_is_shown_live_without_pause():
    with recording() as run:
        run.epoch(loss=0.5, validation=0.75)
        run.final(test=0.75, validation=0.75)
        app = page("run", run=run.folder.name)
        assert not app.exception
        assert "Pause" not in labels(app)
        assert {"Finish after this iteration", "Stop…"} <= set(labels(app))
        assert {metric.label: metric.value for metric in app.metric}["Test MAE"] == "0.75"


@pytest.mark.parametrize("name", ["run", "profile", "plan", "compare", "report", "model"])
def test_every_page_shows_it_after_it_was_stopped(runs_folder, name):
    with recording() as run:
        run.profile([torch.randn(20, 4)])
        run.epoch(loss=0.5, validation=0.75)
        run.final(test=0.75, validation=0.75)
        run.prune({"0": [1]})
        control.ask(runs_folder, run.folder.name, "stop")
        run.epoch(loss=0.5, validation=0.75)
    assert runs.state_of(run.folder).state == "stopped"
    app = page(name, run=run.folder.name)
    assert not app.exception
    assert "Resume" not in labels(app)
    if name == "report":
        assert "Export" not in labels(app)
        assert not any("trimcore export" in block.value for block in app.code)
    if name == "run":
        assert "Only that program can continue it." in texts(app)


def test_it_is_not_resumed_by_a_process_of_ours(runs_folder):
    with recording() as run:
        control.ask(runs_folder, run.folder.name, "stop")
        run.epoch(loss=0.5, validation=0.75)
    with pytest.raises(RunError, match="was carried out by a Python program"):
        control.resume(runs_folder, run.folder.name)
    assert runs.state_of(run.folder).state == "stopped"
