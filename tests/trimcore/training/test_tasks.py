"""Runs of other tasks than classification, of the user's own data, and of objects."""

import csv
import io
import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import trimcore as tc
from tests.trimcore.training.runs import carry_out, of_kind
from trimcore import runs, spec, tables
from trimcore.errors import DataError, RunError, SpecError, TrimError
from trimcore.jobs import control, worker
from trimcore.runs.event_schema import is_valid

REGRESSION = {
    "device": "cpu", "task": "regression", "base": {"epochs": 2, "batch_size": 16, "lr": 0.02},
    "retrain": {"epochs": 2, "batch_size": 16, "lr": 0.02},
    "step": [{"layers": ["0"], "rule": "count", "value": 2, "criterion": "l1", "iterations": 2}],
}  # fmt: skip


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 2))


def planes(**how) -> tc.OwnData:
    """Two linear functions of four numbers."""
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(4, 2, generator=generator)

    def split(count: int) -> TensorDataset:
        x = torch.randn(count, 4, generator=generator)
        return TensorDataset(x, x @ weights)

    return tc.OwnData(split(80), split(30), split(40), classes=["a", "b"], **how)


def parsed(**changes) -> tc.Spec:
    return spec.parse({**REGRESSION, **changes})


def objects() -> dict:
    return {"model": network(), "data": planes()}


class Drifting(nn.Module):
    """Its weights change in evaluation mode, once it is no longer being traced."""

    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, x):
        if not self.training and len(x) > 2:
            self.body[2].weight.data.mul_(0.9)
        return self.body(x)


def test_a_network_that_changes_its_weights_while_it_is_measured_is_refused():
    """What is measured would belong to weights that nobody has any more."""
    step = [{"layers": ["body.0"], "rule": "count", "value": 2, "criterion": "l1"}]
    with pytest.raises(TrimError, match="changed its own weights while it was measured"):
        carry_out(parsed(step=step), model=Drifting(), data=planes())


# ---- a regression from the first epoch to the last


@pytest.fixture(scope="module")
def regression():
    return carry_out(parsed(), **objects())


def test_events_carry_the_metric_by_its_name(regression):
    events, _, _ = regression
    started = events[0]
    assert started["metric"] == {"name": "MAE", "higher_is_better": False, "percent": False}
    assert (started["task"], started["classes"]) == ("regression", ["a", "b"])
    assert not any(key.startswith("accuracy") or "_accuracy" in key for event in events for key in event)
    assert [event["kind"] for event in events if not is_valid(json.loads(json.dumps(event)))] == []
    assert {event["metric"] for event in of_kind(events, "epoch")} == {None}


def test_the_recorded_metric_is_that_of_the_network(regression):
    """The mean absolute error, computed by hand from the saved network."""
    events, _, made = regression
    inputs, targets = planes().test.tensors
    for row in of_kind(events, "iteration"):
        with torch.no_grad():
            wanted = (made[row["iteration"]].build().eval()(inputs) - targets).abs().mean()
        assert row["metric_final"] == pytest.approx(float(wanted), rel=1e-5)
        assert row["metrics"]["test"]["MAE"] == row["metric_final"]
    assert [row["widths"] for row in of_kind(events, "iteration")] == [{"0": 12 - 2 * i, "2": 2} for i in range(3)]


def test_the_csv_says_which_metric(regression):
    events, _, _ = regression
    rows = list(csv.DictReader(io.StringIO(tables.csv_texts(events)["iterations.csv"])))
    assert {row["metric"] for row in rows} == {"MAE"}
    assert {row["accuracy_final"] + row["accuracy_initial"] + row["validation_accuracy"] for row in rows} == {""}
    finals = [event["metric_final"] for event in of_kind(events, "iteration")]
    assert [float(row["metric_final"]) for row in rows] == pytest.approx(finals)
    assert rows[1]["metrics"].startswith("MAE=")
    assert list(tables.paper_table(events).columns)[-2:] == ["initial MAE", "final MAE"]


def test_a_classification_fills_both_columns(make_spec):
    events, _, _ = carry_out(make_spec())
    table = tables.iterations(events)
    assert set(table.metric) == {"accuracy"}
    assert list(table.metric_final) == list(table.accuracy_final)
    assert "metrics" not in of_kind(events, "iteration")[0]


# ---- resuming


@pytest.mark.parametrize("changes", [
    {}, {"retrain": {**REGRESSION["retrain"], "keep": "best", "ema": 0.9, "optimizer": "adamw", "clip": 1.0}},
])  # fmt: skip
def test_a_resumed_run_is_the_same_to_the_bit(changes):
    whole, snapshots, made = carry_out(parsed(**changes), **objects())
    for seen, snapshot in snapshots[1:-1:2]:
        rest, _, again = carry_out(parsed(**changes), **objects(), resume=snapshot)
        kept = [event for event in rest if event["kind"] in ("epoch", "initial", "pruned")]
        wanted = [event for event in whole[seen:] if event["kind"] in ("epoch", "initial", "pruned")]
        assert [_timeless(event) for event in kept] == [_timeless(event) for event in wanted]
        assert all(torch.equal(t, made[2].state[name]) for name, t in again[2].state.items())


def _timeless(event: dict) -> dict:
    return {key: value for key, value in event.items() if key not in ("seconds", "images_per_second")}


# ---- limits and the best epoch, where lower is better


def test_a_run_stops_beyond_the_limit():
    events, _, _ = carry_out(parsed(stop={"limit": 1e-6}), **objects())
    ended = of_kind(events, "ended")[0]
    assert ended["reason"].startswith("validation MAE rose to ")
    assert ended["reason"].endswith("in iteration 1, beyond the limit 1e-06")
    assert ended["result"] == 0
    events, _, _ = carry_out(parsed(stop={"limit": 100.0}), **objects())
    assert of_kind(events, "ended")[0]["result"] == 2


def test_the_best_epoch_has_the_lowest_error(monkeypatch):
    from trimcore.training.phases import training

    real, script = training.evaluate, iter([0.5, 0.1, 0.4])

    def evaluate(*arguments):
        measured = real(*arguments)
        return measured.__class__(**{**vars(measured), "value": next(script)})

    monkeypatch.setattr(training, "evaluate", evaluate)
    asked = parsed(base={**REGRESSION["base"], "epochs": 3, "keep": "best"}, step=[])
    _, snapshots, made = carry_out(asked, **objects())
    second = snapshots[1][1]["checkpoint"]["state"]
    assert all(torch.equal(tensor, second[name]) for name, tensor in made[0].state.items())


# ---- objects


def test_a_network_that_was_passed_is_not_changed():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    _, _, made = carry_out(parsed(base={"epochs": 0}), model=model, data=planes())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in made[0].state.items())


class Median(tc.Task):
    """A task of the user's own, with a loss and a metric that nobody built in."""

    name = "median"

    def loss(self, model, batch):
        return (model(batch[0]) - batch[1]).abs().mean()

    def metrics(self):
        import torchmetrics

        return {"R2": torchmetrics.R2Score()}

    def predict(self, model, batch):
        return model(batch[0]).flatten(), batch[1].flatten()


def test_a_task_that_was_passed_is_learned():
    values = {key: value for key, value in REGRESSION.items() if key != "task"}
    events, _, made = carry_out(spec.parse(values), **objects(), task=Median())
    assert events[0]["metric"]["name"] == "R2"
    inputs, targets = planes().test.tensors
    with torch.no_grad():
        found = made[2].build().eval()(inputs)
    wanted = 1 - float(((targets - found) ** 2).sum() / ((targets - targets.mean()) ** 2).sum())
    assert of_kind(events, "iteration")[2]["metric_final"] == pytest.approx(wanted, abs=1e-5)


def test_a_recorded_run_can_be_stopped_and_resumed(runs_folder, monkeypatch):
    stop = iter([False] * 8 + [True])
    monkeypatch.setattr(runs, "requested", lambda folder: "stop" if next(stop, False) else "")
    folder = tc.run(parsed(), runs=runs_folder, **objects())
    assert runs.state_of(folder).state == "stopped"
    again = tc.run(runs=runs_folder, resume=folder.name, **objects())
    assert again == folder
    assert runs.state_of(folder).state == "finished"
    whole, _, _ = carry_out(parsed(), **objects())
    rows = tables.iterations(list(runs.read_events(folder)))
    assert list(rows.metric_final) == [event["metric_final"] for event in of_kind(whole, "iteration")]
    assert spec.load(folder / "spec.toml").model.startswith("object:Sequential")
    assert "MAE" in (folder / "log.txt").read_text()


def test_a_failed_run_raises_with_its_reason(runs_folder):
    with pytest.raises(RunError, match=r"failed: training diverged in epoch 1 \(loss nan\)"):
        tc.run(parsed(base={**REGRESSION["base"], "lr": 10.0, "clip": 0, "epochs": 5}), runs=runs_folder,
               model=network(), data=planes(), task=Diverging())  # fmt: skip


class Diverging(Median):
    def loss(self, model, batch):
        return super().loss(model, batch) * float("nan")


# ---- batches


class Images(nn.Module):
    """Takes two inputs."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = nn.Linear(4, 8), nn.Linear(3, 8), nn.Linear(8, 1)

    def forward(self, a, b):
        return self.last(torch.relu(self.one(a) + self.two(b)))


class Paired(tc.Task):
    """The inputs of the network are two tensors."""

    name = "paired"

    def inputs(self, batch):
        return batch["a"], batch["b"]

    def check(self, batch):
        if set(batch) != {"a", "b", "y"}:
            raise DataError("no pair")

    def loss(self, model, batch):
        return (model(batch["a"], batch["b"]).flatten() - batch["y"]).square().mean()

    def metrics(self):
        import torchmetrics

        return {"MSE": torchmetrics.MeanSquaredError()}

    def predict(self, model, batch):
        return model(batch["a"], batch["b"]).flatten(), batch["y"]


def test_a_network_may_take_several_inputs_in_dicts():
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": 4, "b": 3, "y": ()}
    items = [{k: torch.randn(s, generator=generator) for k, s in shapes.items()} for _ in range(21)]
    values = {key: value for key, value in REGRESSION.items() if key not in ("task", "step")}
    asked = spec.parse({**values, "step": [{"layers": ["one"], "rule": "count", "value": 3}]})
    events, _, _ = carry_out(asked, model=Images(), data=tc.OwnData(items, items, items, workers=0), task=Paired())
    assert of_kind(events, "iteration")[1]["widths"] == {"one": 5, "two": 5, "last": 1}
    assert of_kind(events, "profiled")[0]["examples"] == 21


def test_batches_of_odd_sizes_are_trained(runs_folder):
    """A last batch of one would leave BatchNorm without a variance."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 2))
    values = {**REGRESSION, "base": {"epochs": 1, "batch_size": 79}}
    events, _, _ = carry_out(spec.parse(values), model=model, data=planes())
    assert of_kind(events, "ended")[0]["result"] == 2


# ---- what is refused


@pytest.mark.parametrize(("changes", "message"), [
    ({"retrain": {"label_smoothing": 0.1}}, "retrain.label_smoothing = 0.1 is for classification"),
    ({"base": {"augment": "shift"}}, "base.augment = 'shift' is for classification"),
    ({"distill": {"weight": 0.5}}, "distillation compares scores of classes"),
    ({"stop": {"min_accuracy": 0.5}}, "set stop.limit"),
    ({"verify": {"pairs": "test"}}, "verify.pairs compares classes"),
    ({"step": [{"layers": ["0"], "criterion": "taylor"}]}, "criterion 'taylor' needs labels of classes"),
    ({"task": "regresion"}, "unknown task 'regresion'; expected classification, multi-label, regression"),
])  # fmt: skip
def test_settings_of_other_tasks_are_refused(changes, message):
    with pytest.raises(SpecError) as error:
        parsed(**changes)
    assert message in str(error.value)


def test_images_have_no_targets_but_classes():
    with pytest.raises(SpecError, match="task 'regression' needs data of your own; mnist-5k is for classification"):
        carry_out(parsed(model="lenet5", data="mnist-5k"))


@pytest.mark.parametrize(("given", "message"), [
    ({"model": nn.Linear(3, 2)}, "cannot take inputs of shape (4,)"),
    ({"model": nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))}, "do not fit task 'regression'"),
    ({"model": 5}, "model is a int, not a torch.nn.Module"), ({"task": 5}, "task is a int, not a trimcore.Task"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_before_training(given, message):
    with pytest.raises(TrimError) as error:
        carry_out(parsed(), **{**objects(), **given})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_new_weights_for_an_object_are_refused():
    with pytest.raises(SpecError, match=r"control.scratch needs new weights"):
        carry_out(parsed(control={"scratch": True}), **objects())


def test_objects_are_not_shared_by_processes():
    with pytest.raises(SpecError, match="several processes cannot share objects"):
        carry_out(parsed(devices={"count": 2}), **objects())


def test_steps_have_the_settings_of_the_task():
    step = {**REGRESSION["step"][0], "retrain": {"mixup": 0.5}}
    with pytest.raises(SpecError, match=r"step 1.retrain.mixup = 0.5 is for classification"):
        parsed(step=[step])


def test_own_images_are_not_augmented():
    images = TensorDataset(torch.rand(20, 1, 8, 8), torch.arange(20) % 3)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    given = {"model": net, "data": tc.OwnData(images, images, images, classes=3)}
    with pytest.raises(SpecError, match="data of your own augment themselves"):
        carry_out(spec.parse({"device": "cpu", "base": {"augment": "shift"}}), **given)
    values = {"base": {"epochs": 1, "mixup": 0.5, "class_weights": "balanced"}, "retrain": {"epochs": 1}}
    events, _, made = carry_out(spec.parse({"device": "cpu", **values, "step": []}), **given)
    with torch.no_grad():
        right = (made[0].build().eval()(images.tensors[0]).argmax(1) == images.tensors[1]).double().mean()
    assert of_kind(events, "iteration")[0]["accuracy_final"] == pytest.approx(float(right))
    assert of_kind(events, "iteration")[0]["class_examples"]["test"] == [7, 7, 6]


def test_labels_out_of_range_are_refused_with_their_place():
    images = TensorDataset(torch.rand(20, 1, 8, 8), torch.arange(20) % 4)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    with pytest.raises(DataError, match=r"train split, batch 1: labels range from 0 to 3, but there are 3 classes"):
        carry_out(spec.parse({"device": "cpu", "base": {"batch_size": 3}, "step": []}), model=net,
                  data=tc.OwnData(TensorDataset(*(t[torch.tensor([0, 1, 2, 4, 3, 0])] for t in images.tensors)),
                                  images, images, classes=3))  # fmt: skip


def test_batches_of_one_are_all_trained():
    """A loader with batches of one, as is common for detection, is no lone remainder."""
    given = planes()
    loader = DataLoader(given.train, batch_size=1)
    data = tc.OwnData(loader, given.test, given.validation, classes=2)
    asked = parsed(base={"epochs": 1, "lr": 1e-6, "warmup": 0.0, "schedule": "constant"}, step=[])
    events, _, _ = carry_out(asked, model=network(), data=data)
    inputs, targets = given.train.tensors
    with torch.no_grad():
        wanted = float((network()(inputs) - targets).square().mean())
    assert of_kind(events, "epoch")[0]["loss"] == pytest.approx(wanted, rel=0.02)


def test_integer_labels_of_any_width_are_counted():
    images = torch.rand(20, 1, 8, 8)
    finals = []
    for dtype in (torch.int64, torch.int32, torch.uint8):
        data = tc.OwnData(*[TensorDataset(images, (torch.arange(20) % 3).to(dtype))] * 3, classes=3)
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        events, _, _ = carry_out(spec.parse({"device": "cpu", "base": {"epochs": 1}, "step": []}), model=net, data=data)
        finals.append(of_kind(events, "iteration")[0]["accuracy_final"])
    assert finals[0] == finals[1] == finals[2]


def test_objects_of_several_runs_stay_apart(runs_folder):
    """An earlier run's data are opened again, not those of a later run."""
    from trimcore.training.prepare import open_iteration

    one = tc.run(parsed(), runs=runs_folder, **objects())
    other = planes()
    other = tc.OwnData(*(TensorDataset(x.tensors[0] + 100, x.tensors[1]) for x in (other.train, other.test,
                                                                                  other.validation)), classes=2)
    two = tc.run(parsed(), runs=runs_folder, model=network(), data=other)  # fmt: skip
    means = [float(next(iter(open_iteration(runs_folder, run.name).batches()))[0].mean()) for run in (one, two)]
    assert abs(means[0]) < 1 < 99 < means[1]


def test_a_program_outlives_its_stopped_run(runs_folder, monkeypatch):
    """Stop ends the run, not the notebook that carries it out."""
    ended = []
    monkeypatch.setattr(control, "_terminate", ended.append)

    def stop(event):
        if event.kind == "epoch":
            control.ask(runs_folder, runs.list_runs(runs_folder)[0], "stop")

    monkeypatch.setattr(worker, "_show", lambda event, *others: stop(event))
    folder = tc.run(parsed(), runs=runs_folder, **objects())
    assert runs.state_of(folder).state == "stopped"
    assert ended == []
