"""The examples on real pixels: a segmentation, a detector, a regression and a multi-label net, each trained and cut."""

from contextlib import ExitStack
from unittest import mock

import onnxruntime
import pytest
import torch
from torch import nn

import trimcore as tc
from tests.trimcore.training.runs import carry_out, of_kind
from trimcore import models, runs, spec, tables
from trimcore.compute.generators import finished
from trimcore.data import own
from trimcore.data.own import open_own
from trimcore.evaluation.accuracy import evaluate
from trimcore.files.export import export
from trimcore.planning.sensitivity import scanning
from trimcore.tasks import task_for
from trimcore.training.prepare import for_task

with ExitStack() as registries:  # what the example registers must not stand on the lists that other tests check
    for table in (models.REGISTRY, own.REGISTERED, own.DESCRIPTIONS, own.TASKS):
        registries.enter_context(mock.patch.dict(table))
    from tests.examples import detector, digits

QUICK = {"optimizer": "adamw", "lr": 0.002, "batch_size": 8}
OF = {
    "segmentation": (digits.UNet, digits.segmentation, "mIoU"),
    "detection": (digits.CentreDetector, digits.detection, "mAP"),
    "regression": (lambda: digits.Convolutions(2), digits.position, "MAE"),
    "multi-label": (lambda: digits.Convolutions(10), digits.present, "F1"),
}  # fmt: skip


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(digits, "COUNTS", {"train": 24, "validation": 10, "test": 12})


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("name", OF)
def test_a_task_is_trained_cut_and_retrained(name):
    """The metric after the cut is that of the cut network, measured again."""
    build, data, metric = OF[name]
    torch.manual_seed(0)
    step = {"layers": ["all"], "rule": "fraction", "value": 0.25, "criterion": "l1"}
    values = {"task": name, "device": "cpu", "base": {"epochs": 1, **QUICK}, "step": [step]}
    asked = spec.parse({**values, "retrain": {"epochs": 1, "batchnorm_examples": 16, **QUICK}})
    events, _, made = carry_out(asked, model=build(), data=data())
    assert events[0]["metric"]["name"] == metric
    rows = of_kind(events, "iteration")
    assert rows[1]["parameters"] < 0.75 * rows[0]["parameters"]
    assert rows[1]["metric_reestimated"] is not None
    task = task_for(name)
    task.outputs = len(data().classes)

    opened = for_task(open_own("x", data()), task)
    again = evaluate(made[1].build(), opened.test, opened, torch.device("cpu"), task)
    assert again.value == pytest.approx(rows[1]["metric_final"], abs=1e-4)
    assert again.metrics == pytest.approx(rows[1]["metrics"]["test"], abs=1e-4)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("format", ["onnx", "pt2"])
@pytest.mark.parametrize("name", ["detection", "segmentation"])
def test_a_trimmed_network_is_exported(name, format, tmp_path):
    """A detector returns a list with an entry per image: its program takes one image at a time."""
    build, data, _ = OF[name]
    torch.manual_seed(0)
    step = {"layers": ["all"], "rule": "fraction", "value": 0.25, "criterion": "l1"}
    asked = spec.parse({"task": name, "device": "cpu", "base": {"epochs": 0}, "retrain": {"epochs": 0}, "step": [step]})
    _, _, made = carry_out(asked, model=build(), data=data())
    path = tmp_path / f"network.{format}"
    assert export(made[1], format, path) < 1e-3
    if format == "onnx":
        shape = onnxruntime.InferenceSession(str(path)).get_inputs()[0].shape
        assert shape == [1 if name == "detection" else "batch", 1, 64, 64]


@pytest.mark.usefixtures("few")
def test_the_detector_keeps_the_conventions_of_torchvision():
    torch.manual_seed(0)
    images, targets = digits.as_lists([digits.Canvases("train", "boxes", 2)[i] for i in range(3)])
    model = digits.CentreDetector()
    losses = model(torch.stack(images), targets)
    assert {name: loss.requires_grad for name, loss in losses.items()} == {"centres": True, "boxes": True}
    found = model.eval()(torch.stack(images))
    assert [(each["boxes"].shape, each["labels"].shape) for each in found] == [((10, 4), (10,))] * 3


@pytest.mark.usefixtures("few")
def test_the_example_of_ones_own_loop_stands_as_a_run(runs_folder):
    detector.main(count=16, epochs=1, cuts=1, runs=str(runs_folder))
    (name,) = runs.list_runs(runs_folder)
    events = list(runs.read_events(runs_folder / name))
    assert tables.metric_of(events).name == "mAP"
    rows = tables.iterations(events)
    assert list(rows.iteration) == [0, 1]
    assert rows.parameters[1] < 0.95 * rows.parameters[0]
    assert runs.state_of(runs_folder / name).state == "finished"


def test_the_sensitivity_of_a_regression_is_that_of_each_cut():
    """Each point, against the error of the network with the same neurons held at zero by hand."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)).eval()
    inputs, targets = torch.randn(30, 4), torch.randn(30, 1)
    graph, batches, task = tc.trace(model, inputs[:1]), [(inputs, targets)], task_for("regression")
    profile = tc.profile(model, batches, graph=graph)
    found = finished(scanning(graph, profile, batches, fractions=[1, 0.5], task=task))
    with torch.no_grad():
        hidden = torch.relu(model[0](inputs))
        order = profile["0"].apoz.argsort(descending=True, stable=True)
        hidden[:, order[:4]] = 0
        half = float((model[2](hidden) - targets).abs().mean())
        whole = float((model(inputs) - targets).abs().mean())
    assert found.metric.name == "MAE"
    assert dict(found.curve("0")) == pytest.approx({8: whole, 4: half}, rel=1e-5)
    table = found.table()
    assert list(table["drop"]) == pytest.approx([0, half - whole], abs=1e-6)
    assert list(table["metric"]) == pytest.approx([whole, half], rel=1e-5)
