"""Code that the person who starts the server names with --use: on the lists, planned, launched, and wrong."""

import pytest

from tests.dashboard.pages import choose_model, click, page, texts
from trimcore import runs, spec
from trimcore.data import own
from trimcore.jobs import control
from trimcore.system import own_code

CODE = """
import torch
import trimcore as tc
from torch import nn
from torch.utils.data import TensorDataset


@tc.register("halves-net", "says where it is bright", channels=1)
def net(num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes),
    )


@tc.register_data("brightness", "how bright each half of a picture is", task="regression")
def brightness():
    def split(count, seed):
        images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        return TensorDataset(images, torch.stack([images[..., :4].mean((1, 2, 3)), images[..., 4:].mean((1, 2, 3))], 1))

    return tc.OwnData(split(64, 0), split(16, 1), split(16, 2), classes=["left", "right"])
"""


@pytest.fixture
def in_use(tmp_path, monkeypatch, registry):
    """use(text): a server that was started with this file."""
    monkeypatch.setattr(own_code, "_imported", set())
    monkeypatch.setattr(own_code, "_registered", {})
    monkeypatch.setenv(own_code.USED, "")

    def use(text: str):
        path = tmp_path / "code_of_the_server.py"
        path.write_text(text)
        own_code.use([str(path)])
        return path

    return use


def test_registered_models_and_data_stand_on_the_lists(in_use):
    in_use(CODE)
    app = choose_model(page("model"), "halves-net")
    assert "says where it is bright" in texts(app)
    assert "brightness" in app.selectbox[1].options
    app.selectbox[1].set_value("brightness").run()
    assert not app.exception
    assert not app.error
    said = texts(app)
    assert "how bright each half of a picture is" in said
    assert "for regression, 2 outputs, 8×8 pixels. 64 training examples, 16 validation examples (used" in said
    assert {m.label: m.value for m in app.metric}["Parameters"] == f"{6 * 9 + 6 + 6 * 8 * 9 + 8 + 8 * 2 + 2:,}"
    draft = app.session_state.draft
    assert (draft["task"], draft["base"]["augment"], draft["stop"]["min_accuracy"]) == ("regression", "none", 0.0)
    assert spec.parse(draft).data == "brightness"


def test_a_run_of_registered_code_is_launched_and_planned(in_use, runs_folder, eventually):
    in_use(CODE)
    app = choose_model(page("model"), "halves-net")
    app.selectbox[1].set_value("brightness").run()
    app.session_state.draft["base"]["epochs"] = 1
    click(app.run(), "Profile this network")
    (name,) = runs.list_runs(runs_folder)
    status = control.wait_for(runs_folder, name, lambda status: not status.active, 120)
    assert (status.state, status.reason) == ("finished", "the base network is trained and profiled")
    step = spec.Step(layers=["0"], rule="count", value=2, criterion="l1").model_dump(exclude_none=True)
    shown = page("plan", run=name, draft={**app.session_state.draft, "step": [step]})
    assert not shown.error
    assert "MAE before retraining" in texts(shown)
    assert "accuracy" not in texts(shown).lower()


@pytest.mark.parametrize(("text", "message"), [
    ("raise OSError('no\\nlicence')", "cannot import it: OSError: no"),
    (CODE + CODE, "model 'halves-net' is already registered: this module registers it twice"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["model", "run"])
def test_a_file_that_fails_is_named_on_every_page(in_use, name, text, message):
    path = in_use(text)
    app = page(name)
    (error,) = app.error
    assert error.value.startswith(f"--use {path}: {message}")
    assert error.value.endswith("Correct it and start the server again.")


def test_without_it_the_page_imports_nothing(in_use, tmp_path, monkeypatch):
    """A draft that names code, as a crafted link or file could, is refused with its way out."""
    (tmp_path / "code_of_a_stranger.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    app = page("model")
    for key in ("model", "data", "task"):
        draft = dict(app.session_state.draft) | {key: "code_of_a_stranger:thing"}
        app.session_state.draft = draft
        app.run()
        assert not app.exception
    assert not (tmp_path / "imported").exists()
    assert own.REGISTERED.keys() <= {"brightness"}
