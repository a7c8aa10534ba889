"""The switch from smooth activations to ReLU: shown where it means something, and what it asks for."""

import pytest
from torch import nn

from tests.dashboard.fakes import real_run
from tests.dashboard.test_pages import field, page, texts
from trimcore import models, runs, spec
from trimcore.jobs import control


@pytest.fixture
def wavy():
    """A network with GELU and Hardswish, known by that name while the test runs."""

    @models.register("wavy", "for a test")
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        conv = [nn.Conv2d(in_channels, 8, 5, stride=4), nn.GELU(), nn.Conv2d(8, 6, 3), nn.Hardswish()]
        return nn.Sequential(*conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, num_classes))

    yield "wavy"
    models.REGISTRY.pop("wavy")


def plan_page(model: str, **session):
    step = {"layers": ["all"], "rule": "fraction", "value": 0.2}
    draft = spec.parse({"model": model, "base": {"epochs": 0}, "step": [step]}).model_dump(exclude_none=True)
    return page("plan", draft=draft, **session)


def run_of(model: str, folder, **more) -> str:
    asked = spec.parse({"model": model, "base": {"epochs": 0}, "device": "cpu", **more})
    return real_run(folder, asked).name


@pytest.fixture
def launched(monkeypatch) -> list[spec.Spec]:
    found = []
    monkeypatch.setattr(control, "launch", lambda asked, folder: found.append(asked) or "a-run")
    return found


def test_without_smooth_activations_or_hidden_linear_layers_there_is_no_switch(runs_folder):
    assert not plan_page("squeezenet1_1").radio
    assert not plan_page("lenet5-maxout").radio, "it has units already"


def test_the_switch_asks_for_a_conversion(wavy, runs_folder, launched):
    app = plan_page(wavy)
    (switch,) = app.radio
    assert (switch.options, switch.value) == (["keep GELU and Hardswish", "turn into ReLU"], "")
    assert "Epochs in which they turn" not in {widget.label for widget in app.number_input}
    switch.set_value("relu").run()
    field(app, "Epochs in which they turn").set_value(7)
    app.button(key="launch").click().run()
    assert not app.exception
    assert (launched[0].convert.to, launched[0].convert_epochs) == ("relu", 7)


def test_a_branch_from_a_smooth_network_may_convert(wavy, runs_folder, launched):
    app = plan_page(wavy, run=run_of(wavy, runs_folder))
    app.radio[0].set_value("relu").run()
    assert "from before the activations are turned" in texts(app)
    app.button(key="launch").click().run()
    assert (launched[0].parent.iteration, launched[0].convert_epochs) == (0, 4)


def test_a_branch_from_a_converted_network_has_nothing_to_switch(wavy, runs_folder, launched):
    run_id = run_of(wavy, runs_folder, convert={"to": "relu", "epochs": 1, "batch_size": 500})
    app = plan_page(wavy, run=run_id)
    assert not app.radio
    app.session_state.draft["convert"]["to"] = "relu"  # chosen for another beginning
    app.button(key="launch").click().run()
    assert (launched[0].parent.run, launched[0].convert.to) == (run_id, "")


def test_the_run_page_shows_the_conversion(wavy, runs_folder):
    run_id = run_of(wavy, runs_folder, convert={"to": "relu", "epochs": 2, "batch_size": 500})
    app = page("run", run=run_id)
    assert "converting to ReLU over 2 epochs" in texts(app)
    assert [e["phase"] for e in runs.read_events(runs_folder / run_id) if e["kind"] == "epoch"] == ["convert"] * 2
