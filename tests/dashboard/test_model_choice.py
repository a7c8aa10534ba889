"""Choosing among all models on the page, and runs of networks that the page must not import."""

import shutil
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import work
from tests.dashboard.fakes import real_run
from trimcore import models, runs, spec
from trimcore.jobs import control
from trimcore.models import own
from trimcore.training.prepare import data_for

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")
NETS = """
from pathlib import Path
from torch import nn
with open(Path(__file__).with_name("imported"), "a") as file:
    file.write("x")

def tiny(num_classes, in_channels):
    conv = nn.Conv2d(in_channels, 6, 5, stride=4)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, num_classes))
"""


def page(name: str, **session) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    app.run()
    for key, value in session.items():
        app.session_state[key] = value
    app.switch_page(f"views/{name}.py").run()
    assert not app.exception, app.exception
    return app


def choose(app: AppTest, model: str) -> AppTest:
    app.selectbox[0].set_value(model).run()
    assert not app.exception
    return app


def texts(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error, app.success)
    return "\n".join(element.value for kind in kinds for element in kind)


def size_fields(app: AppTest) -> list[tuple]:
    return [(n.value, n.min, n.step) for n in app.number_input if n.label == "Image size, pixels"]


# --- the list ---


def test_every_model_can_be_chosen_ours_first():
    app = page("model")
    assert app.selectbox[0].options == list(models.listed())
    ours = [f"{name}{ending}" for name in ("lenet5", "vgg16", "vgg16-small") for ending in ("", "-maxout")]
    assert app.selectbox[0].options[:7] == [*ours, "vgg11"]
    assert len(app.selectbox[0].options) == 85


def test_a_model_is_described_and_counted():
    app = choose(page("model"), "resnet18")
    assert "ResNet, residual blocks; 11.7 million parameters" in texts(app)
    head, tail = 512 * 1000 + 1000, 512 * 10 + 10  # the classifier, for ImageNet and for ten digits
    assert {m.label: m.value for m in app.metric}["Parameters"] == f"{11_689_512 - head + tail:,}"


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("resnet34", (28, 1, 4)),
        ("resnet18", (32, 1, 4)),  # its preset has a size of its own
        ("squeezenet1_1", (28, 17, 4)),
        ("densenet121", (29, 29, 4)),
        ("vit_b_32", (224, 32, 32)),
    ],
)
def test_the_size_of_images_can_be_chosen_from_what_the_network_takes(model, field):
    assert size_fields(choose(page("model"), model)) == [field]


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("lenet5", {}),
        ("lenet5", {"channels": 3}),
        ("densenet121", {}),
        ("inception_v3", {}),
        ("vit_b_32", {"image_size": 32}),
    ],
)
def test_the_page_counts_the_network_that_a_run_would_train(model, asked):
    found = data_for(spec.parse({"model": model, **asked}))
    wanted = {"num_classes": 10, "in_channels": found.channels, "image_size": found.image_size}
    assert work.arguments_for(model, "mnist-5k", asked.get("image_size", 0), asked.get("channels", 0)) == wanted


def test_a_size_that_does_not_fit_is_one_line():
    app = choose(page("model"), "vit_b_32")
    app.number_input[0].set_value(64).run()
    assert not app.error
    assert app.session_state.draft["image_size"] == 64
    app.number_input[0].set_value(65).run()
    assert "multiple of 32 pixels, such as 64 or 96, not 65" in app.error[0].value


@pytest.mark.parametrize("model", ["resnet34", "mobilenet_v3_small", "vit_b_32"])
def test_the_quick_start_of_any_model_is_a_moderate_one(model, monkeypatch):
    launched = []
    monkeypatch.setattr(control, "launch", lambda asked, folder: launched.append(asked) or "")
    app = choose(page("model"), model)
    next(b for b in app.button if b.label == "Trim it now with the defaults").click().run()
    asked = launched[0]
    assert (asked.model, asked.data, asked.image_size, asked.channels) == (model, "mnist-5k", 0, 0)
    assert [(s.layers, s.rule, s.value, s.iterations) for s in asked.step] == [(["all"], "mean+std", 1.0, 3)]
    assert (asked.base.epochs, asked.base.lr, asked.base.batch_size) == (6, 0.02, 128)
    assert (asked.retrain.epochs, asked.retrain.lr, asked.retrain.batch_size) == (2, 0.01, 128)


# --- networks of the user's own ---


@pytest.fixture(scope="module")
def own_run(tmp_path_factory) -> Path:
    """A finished run of my_own_nets:tiny, made on the command line's side; the module is then gone from memory."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_own_nets.py").write_text(NETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(own.FORBIDDEN, "")
        patch.syspath_prepend(str(folder))
        return real_run(folder / "runs", spec.parse({
            "model": "my_own_nets:tiny", "device": "cpu", "base": {"epochs": 1}, "retrain": {"epochs": 0},
            "step": [{"layers": ["0"], "rule": "count", "value": 2}],
        }))  # fmt: skip


@pytest.fixture
def own_one(own_run, tmp_path, monkeypatch) -> Path:
    """A copy of that run, which the pages look at; its module could be imported."""
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
def test_a_run_of_ones_own_network_is_shown(own_one, name):
    app = page(name, run=own_one.name)
    assert not app.error
    shown = {metric.label: metric.value for metric in app.metric}
    if name in ("run", "report"):
        assert shown["Parameters"] == f"{4 * 26 + (4 * 36 + 1) * 10:,}"
    if name == "compare":
        assert app.dataframe[0].value.model[0] == "my_own_nets:tiny"


def test_its_planning_is_left_to_the_command_line(own_one):
    app = page("profile", run=own_one.name)
    next(b for b in app.button if b.label == "Plan with this rule").click().run()
    assert not app.exception
    assert app.session_state.draft["model"] == "my_own_nets:tiny"
    assert len(app.error) == 1
    assert "is a network of your own" in app.error[0].value
    assert "on the command line" in app.error[0].value
    app.switch_page("views/model.py").run()
    assert not app.exception
    assert app.selectbox[0].value == "my_own_nets:tiny"
    assert "on the command line" in app.error[0].value
    choose(app, "lenet5")
    assert not app.error


def test_nothing_that_the_page_can_start_imports_it(own_one):
    draft = spec.parse({"model": "my_own_nets:tiny"}).model_dump(exclude_none=True)
    app = page("profile", run=None, draft=draft)
    before = runs.list_runs(own_one.parent)
    next(b for b in app.button if b.label.startswith("Train and profile")).click().run()
    assert not app.exception
    assert "on the command line" in app.error[0].value
    assert runs.list_runs(own_one.parent) == before


def test_a_stopped_one_is_resumed_on_the_command_line_only(own_one):
    (own_one / "exit.json").write_text('{"state": "stopped", "reason": "on request", "code": 0}')
    app = page("run", run=own_one.name)
    next(b for b in app.button if b.label == "Resume").click().run()
    assert not app.exception
    assert any("on the command line" in error.value for error in app.error)
    assert runs.state_of(own_one).state == "stopped"


def test_an_export_is_left_to_the_command_line(own_one, monkeypatch):
    """It is written by a process of its own, which must not import the module either."""
    monkeypatch.setenv("PYTHONPATH", str(own_one.parent.parent))
    app = page("report", run=own_one.name)
    next(b for b in app.button if b.label == "Prepare").click().run()
    assert not app.exception
    assert any("on the command line" in error.value for error in app.error)
