"""The card of one neuron on the Profile page says what the library finds, and in one line why it cannot."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dashboard import looking
from tests.dashboard.fakes import fake_run, real_run
from tests.dashboard.test_pages import page, texts
from trimcore import models, runs, spec, tables
from trimcore.evaluation import inspection
from trimcore.files import checkpoint
from trimcore.graph.tracing import trace
from trimcore.training import prepare
from trimcore.training.prepare import data_for

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory, make_spec) -> Path:
    """A real run of two iterations on tiny pictures, made once."""
    asked = make_spec(step=[{"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.3, "iterations": 2}])
    return real_run(tmp_path_factory.mktemp("seen"), asked)


@pytest.fixture
def run(carried_out, runs_folder) -> Path:
    return Path(shutil.copytree(carried_out, runs_folder / carried_out.name))


def opened(run: Path, number: int | None = None, layer: str = "conv2", after: int = 0, **session):
    app = page("profile", run=run.name, **session)
    if after:
        next(one for one in app.segmented_control if one.label == "Iteration").set_value(after).run()
    next(one for one in app.selectbox if one.label == "Layer").set_value(layer).run()
    if number is not None:
        next(one for one in app.number_input if one.label == "Look at neuron").set_value(number).run()
    assert not app.exception, app.exception
    return app


def click(app, label: str):
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception, app.exception
    return app


def metrics(app) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def cannot(monkeypatch, module, name: str) -> None:
    def called(*_, **__):
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(module, name, called)


def test_nothing_is_loaded_before_a_neuron_is_chosen(run, monkeypatch):
    cannot(monkeypatch, checkpoint, "load")
    cannot(monkeypatch, prepare, "data_for")
    app = opened(run)
    assert "Zero on" not in metrics(app)


@pytest.mark.parametrize(("layer", "number", "after"), [("conv2", 3, 0), ("conv1", 19, 1), ("fc1", 2, 2)])
def test_the_card_says_what_the_library_finds(run, layer, number, after):
    app = opened(run, number, layer, after)
    found = checkpoint.load(runs.checkpoint_path(run, after))
    graph = trace(found.build().eval(), models.example_input(found.arguments))
    data = data_for(spec.load(run / "spec.toml"))
    own = inspection.inspect(graph, layer, number, data.validation, data, "cpu")
    shown = metrics(app)
    assert shown["Silent on"] == f"{own.silent} of {len(data.validation)}"
    assert shown["Accuracy without it"] == f"{own.without.accuracy:.2%}"
    assert shown["Loss"] == f"{own.without.loss - own.before.loss:+.4f}"
    assert (shown["Parameters saved"], shown["MACs saved"]) == (f"{own.parameters:,}", f"{own.macs:,}")
    event = tables.latest(list(runs.read_events(run)), "profiled")[after]["layers"][layer]
    assert shown["Zero on"] == f"{event['apoz'][number]:.1%} of positions", "as the run itself counted"
    original = event["original"][number]
    assert (f"(in the base model {original})" in texts(app)) == (original != number)
    takes = next(one.value for one in app.dataframe if "tensor" in one.value)
    assert dict(zip(takes.tensor, takes.weights, strict=True)) == own.takes


def test_a_second_look_costs_nothing(run, monkeypatch):
    app = opened(run, 4)
    first = metrics(app)
    cannot(monkeypatch, inspection, "inspecting")
    app.run()
    assert not app.exception
    assert metrics(app) == first


def test_a_long_look_waits_to_be_asked(run, monkeypatch):
    monkeypatch.setattr("dashboard.looking.QUICK", 0.0)
    app = opened(run, 5)
    assert "Zero on" not in metrics(app)
    label = next(button.label for button in app.button if button.label.startswith("Look at it"))
    assert label == "Look at it: looking at 20 images, about 1 s"
    assert "Zero on" in metrics(click(app, label))
    assert "Zero on" in metrics(app.run()), "it is kept"


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_without_its_weights_a_neuron_is_one_line(run, damage):
    path = runs.checkpoint_path(run, 0)
    path.unlink() if damage == "gone" else path.write_bytes(b"no weights")
    app = opened(run, 3)
    (line,) = [warning.value for warning in app.warning if "cannot be looked at" in warning.value]
    assert ("iteration 0" in line) == (damage == "gone")
    assert "Zero on" not in metrics(app)
    assert "Mean APoZ" in metrics(app)


def test_data_that_are_gone_or_others_are_one_line(runs_folder, tmp_path, make_spec):
    folder = tmp_path / "pictures"
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for number in range(20):
            pixels = RANDOM.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    asked = make_spec(data=f"imagefolder:{folder}", step=[])
    made = real_run(runs_folder, asked)
    (folder / "b").rename(tmp_path / "elsewhere")
    app = opened(made, 3)
    assert any("cannot be looked at" in one.value and "class" in one.value for one in app.warning)
    shutil.copytree(folder / "a", folder / "b")
    shutil.copytree(folder / "a", folder / "c")
    assert any("num classes is 3, not 2" in one.value for one in app.run().warning)
    asked = make_spec(data=f"imagefolder:{folder}", seed=5)  # with another seed, so that nothing is known of it
    other = fake_run(runs_folder, asked.model_dump(exclude_none=True), [{"conv2": 50}], [0.5])
    shutil.copytree(made / "checkpoints", runs_folder / other / "checkpoints", dirs_exist_ok=True)
    shutil.rmtree(folder)
    app = opened(runs_folder / other, 3)
    assert any("cannot be looked at" in one.value and "no folder" in one.value for one in app.warning)


def test_a_network_of_the_users_own_is_not_imported(runs_folder, run, tmp_path, monkeypatch):
    (tmp_path / "ownnets.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    text = (run / "spec.toml").read_text("utf-8")
    (run / "spec.toml").write_text(text.replace('"lenet5"', '"ownnets:tiny"'), "utf-8")
    made = torch.load(runs.checkpoint_path(run, 0), weights_only=True)
    del made["checksum"]
    torch.save({**made, "model": "ownnets:tiny"}, runs.checkpoint_path(run, 0))
    app = opened(run, 3)
    assert any("cannot be looked at" in one.value and "ownnets" in one.value for one in app.warning)
    assert not any("SystemExit" in one.value for one in app.warning)


def test_neurons_of_maxout_units_can_be_looked_at(runs_folder, make_spec):
    asked = make_spec(model="lenet5-maxout", options={"width": 16, "k": 4}, base={"epochs": 1}, step=[
        {"layers": ["conv2"], "rule": "fraction", "value": 0.3}])  # fmt: skip
    made = real_run(runs_folder, asked)
    app = opened(made, 6, "fc1")
    assert "Zero on" in metrics(app)
    assert "a maxout unit with 4, 5, 7" in texts(app)


def test_how_long_it_takes_is_told_from_what_the_run_took(run):
    assert looking.subject(run.name, 0).pace < 0.1
    path = run / "events.jsonl"
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    slow = [{**e, "seconds": 40.0, "examples": 20} if e["kind"] == "profiled" else e for e in events]
    path.write_text("".join(json.dumps(event) + "\n" for event in slow), "utf-8")
    assert looking.subject(run.name, 0).pace == 2.0
    path.write_text("".join(json.dumps({**e, "seconds": 0.0}) + "\n" for e in slow), "utf-8")
    macs = next(e["macs"] for e in events if e["kind"] == "iteration")
    assert looking.subject(run.name, 0).pace == macs / 5e10, "a run on a GPU tells nothing of this CPU"
