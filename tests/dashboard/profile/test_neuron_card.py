"""The card of one neuron on the page Profile shows the results of the library, or one line with the reason."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.dashboard.fakes import fake_run, real_run
from tests.dashboard.pages import metrics, texts
from tests.dashboard.profile.card import click, forbid, profile_page
from trimcore import models, runs, spec, tables
from trimcore.evaluation import inspection
from trimcore.files import checkpoint
from trimcore.graph.tracing import trace
from trimcore.training import prepare
from trimcore.training.prepare import data_for

RANDOM = np.random.default_rng(0)


def test_nothing_is_loaded_before_a_neuron_is_chosen(tiny_run, monkeypatch):
    forbid(monkeypatch, checkpoint, "load")
    forbid(monkeypatch, prepare, "data_for")
    app = profile_page(tiny_run)
    assert "Zero at" not in metrics(app)


@pytest.mark.parametrize(("layer", "number", "after"), [("conv2", 3, 0), ("conv1", 19, 1), ("fc1", 2, 2)])
def test_the_card_shows_the_library_results(tiny_run, layer, number, after):
    app = profile_page(tiny_run, number, layer, after)
    found = checkpoint.load(runs.checkpoint_path(tiny_run, after))
    graph = trace(found.build().eval(), models.example_input(found.arguments))
    data = data_for(spec.load(tiny_run / "spec.toml"))
    own = inspection.inspect(graph, layer, number, data.validation, data, "cpu")
    shown = metrics(app)
    assert shown["All zero on"] == f"{own.silent} of {len(data.validation)}"
    assert shown["Accuracy without it"] == f"{own.without.accuracy:.2%}"
    assert shown["Change in loss"] == f"{own.without.loss - own.before.loss:+.4f}"
    assert (shown["Parameters saved"], shown["MACs saved"]) == (f"{own.parameters:,}", f"{own.macs:,}")
    event = tables.latest(list(runs.read_events(tiny_run)), "profiled")[after]["layers"][layer]
    assert shown["Zero at"] == f"{event['apoz'][number]:.1%} of positions", "as recorded by the run"
    original = event["original"][number]
    assert (f"({original} in the base network)" in texts(app)) == (original != number)
    takes = next(one.value for one in app.dataframe if "tensor" in one.value)
    assert dict(zip(takes.tensor, takes.weights, strict=True)) == own.takes


def test_results_are_cached(tiny_run, monkeypatch):
    app = profile_page(tiny_run, 4)
    first = metrics(app)
    forbid(monkeypatch, inspection, "inspecting")
    app.run()
    assert not app.exception
    assert metrics(app) == first


def test_a_long_measurement_waits_for_a_button(tiny_run, monkeypatch):
    monkeypatch.setattr("dashboard.profile.measurement.QUICK", 0.0)
    app = profile_page(tiny_run, 5)
    assert "Zero at" not in metrics(app)
    label = next(button.label for button in app.button if button.label.startswith("Measure now"))
    assert label == "Measure now (about 1 s)"
    assert "Zero at" in metrics(click(app, label))
    assert "Zero at" in metrics(app.run()), "it is cached"


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_missing_or_damaged_weights_are_a_one_line_warning(tiny_run, damage):
    path = runs.checkpoint_path(tiny_run, 0)
    path.unlink() if damage == "missing" else path.write_bytes(b"no weights")
    app = profile_page(tiny_run, 3)
    (line,) = [warning.value for warning in app.warning if "cannot be inspected" in warning.value]
    assert ("iteration 0" in line) == (damage == "missing")
    assert "Zero at" not in metrics(app)
    assert "Mean APoZ" in metrics(app)


def test_missing_or_changed_data_are_a_one_line_warning(runs_folder, tmp_path, make_spec):
    folder = tmp_path / "pictures"
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for number in range(20):
            pixels = RANDOM.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    asked = make_spec(data=f"imagefolder:{folder}", step=[])
    made = real_run(runs_folder, asked)
    (folder / "b").rename(tmp_path / "elsewhere")
    app = profile_page(made, 3)
    assert any("cannot be inspected" in one.value and "class" in one.value for one in app.warning)
    shutil.copytree(folder / "a", folder / "b")
    shutil.copytree(folder / "a", folder / "c")
    assert any("num classes is now 3, not 2" in one.value for one in app.run().warning)
    asked = make_spec(data=f"imagefolder:{folder}", seed=5)  # another seed, so that nothing is cached
    other = fake_run(runs_folder, asked.model_dump(exclude_none=True), [{"conv2": 50}], [0.5])
    shutil.copytree(made / "checkpoints", runs_folder / other / "checkpoints", dirs_exist_ok=True)
    shutil.rmtree(folder)
    app = profile_page(runs_folder / other, 3)
    assert any("cannot be inspected" in one.value and "no folder" in one.value for one in app.warning)


def test_user_code_is_not_imported(runs_folder, tiny_run, tmp_path, monkeypatch):
    (tmp_path / "ownnets.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    text = (tiny_run / "spec.toml").read_text("utf-8")
    (tiny_run / "spec.toml").write_text(text.replace('"lenet5"', '"ownnets:tiny"'), "utf-8")
    made = torch.load(runs.checkpoint_path(tiny_run, 0), weights_only=True)
    del made["checksum"]
    torch.save({**made, "model": "ownnets:tiny"}, runs.checkpoint_path(tiny_run, 0))
    app = profile_page(tiny_run, 3)
    assert any("cannot be inspected" in one.value and "ownnets" in one.value for one in app.warning)
    assert not any("SystemExit" in one.value for one in app.warning)


def test_neurons_of_maxout_units_can_be_inspected(runs_folder, make_spec):
    asked = make_spec(model="lenet5-maxout", options={"width": 16, "k": 4}, base={"epochs": 1}, step=[
        {"layers": ["conv2"], "rule": "fraction", "value": 0.3}])  # fmt: skip
    made = real_run(runs_folder, asked)
    app = profile_page(made, 6, "fc1")
    assert "Zero at" in metrics(app)
    assert "a maxout unit with 4, 5, 7" in texts(app)
