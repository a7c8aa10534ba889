"""Runs of user networks, whose code the pages must not import."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.dashboard.fakes import real_run
from tests.dashboard.pages import choose_model, page, texts
from trimcore import runs, spec
from trimcore.system import own_code

NETS = """
from pathlib import Path
from torch import nn
with open(Path(__file__).with_name("imported"), "a") as file:
    file.write("x")

def tiny(num_classes, in_channels):
    conv = nn.Conv2d(in_channels, 6, 5, stride=4)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, num_classes))
"""


@pytest.fixture(scope="module")
def own_run(tmp_path_factory) -> Path:
    """A finished run of my_own_nets:tiny, created as the command line would. Its module is then unloaded."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_own_nets.py").write_text(NETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(own_code.FORBIDDEN, "")
        patch.syspath_prepend(str(folder))
        return real_run(folder / "runs", spec.parse({
            "model": "my_own_nets:tiny", "device": "cpu", "base": {"epochs": 1}, "retrain": {"epochs": 0},
            "step": [{"layers": ["0"], "rule": "count", "value": 2}],
        }))  # fmt: skip


@pytest.fixture
def own_one(own_run, tmp_path, monkeypatch) -> Path:
    """A copy of that run for the pages. Its module could be imported."""
    copy = tmp_path / "runs" / own_run.name
    shutil.copytree(own_run, copy)
    monkeypatch.setenv("TRIMCORE_RUNS", str(tmp_path / "runs"))
    (tmp_path / "my_own_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_own_nets", None)
    yield copy
    assert "my_own_nets" not in sys.modules
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("name", ["profile", "run", "compare", "report"])
def test_a_run_of_a_user_network_is_shown(own_one, name):
    app = page(name, run=own_one.name)
    assert not app.error
    shown = {metric.label: metric.value for metric in app.metric}
    if name in ("run", "report"):
        assert shown["Parameters"] == f"{4 * 26 + (4 * 36 + 1) * 10:,}"
    if name == "compare":
        assert "model my_own_nets:tiny" in texts(app).replace("\\", "")


def test_planning_points_to_the_command_line(own_one):
    app = page("profile", run=own_one.name)
    next(b for b in app.button if b.label == "Plan with this rule").click().run()
    assert not app.exception
    assert app.session_state.draft["model"] == "my_own_nets:tiny"
    assert len(app.error) == 1
    assert "is a network of your own" in app.error[0].value
    assert "on the command line" in app.error[0].value
    app.switch_page("model/page.py").run()
    assert not app.exception
    assert app.selectbox[0].value == "my_own_nets:tiny"
    assert "on the command line" in app.error[0].value
    choose_model(app, "lenet5")
    assert not app.error


def test_launching_does_not_import_user_code(own_one):
    draft = spec.parse({"model": "my_own_nets:tiny"}).model_dump(exclude_none=True)
    app = page("profile", run=None, draft=draft)
    before = runs.list_runs(own_one.parent)
    next(b for b in app.button if b.label.startswith("Train and profile")).click().run()
    assert not app.exception
    assert "on the command line" in app.error[0].value
    assert runs.list_runs(own_one.parent) == before


def test_resuming_points_to_the_command_line(own_one):
    (own_one / "exit.json").write_text('{"state": "stopped", "reason": "on request", "code": 0}')
    app = page("run", run=own_one.name)
    next(b for b in app.button if b.label == "Resume").click().run()
    assert not app.exception
    assert any("on the command line" in error.value for error in app.error)
    assert runs.state_of(own_one).state == "stopped"


def test_exporting_points_to_the_command_line(own_one, monkeypatch):
    """The export runs in a separate process, which must not import the module either."""
    monkeypatch.setenv("PYTHONPATH", str(own_one.parent.parent))
    app = page("report", run=own_one.name)
    next(b for b in app.button if b.label == "Export").click().run()
    assert not app.exception
    assert any("on the command line" in error.value for error in app.error)
