"""Which weights a recipe keeps: their average, those of the best epoch, and BatchNorm estimated again."""

import pytest
import torch
from torch import nn

from tests.trimcore.training.runs import carry_out, of_kind, step
from tests.trimcore.training.test_epoch import CPU, made_up
from trimcore import models
from trimcore.data.batches import Batches
from trimcore.spec import Training
from trimcore.training import best as best_of
from trimcore.training.averaging import averaged
from trimcore.training.batchnorm import has_batchnorm, reestimate

# ---- averages


def test_the_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    average = averaged(model, 0.5)
    for value in (1.0, 2.0, 4.0):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update_parameters(model)
    # The first step copies; then the decays are min(0.5, 2 / 11) and min(0.5, 3 / 12).
    second = 1.0 + (1 - 2 / 11) * (2.0 - 1.0)
    assert average.module.weight.item() == pytest.approx(second + (1 - 3 / 12) * (4.0 - second))
    again = averaged(model, 0.5, average.state_dict())
    assert int(again.n_averaged) == 3
    assert torch.equal(again.module.weight, average.module.weight)


def test_a_run_measures_and_keeps_the_average(make_spec):
    events, _, made = carry_out(make_spec(base={"ema": 0.9, "epochs": 3}, step=[]))
    plain, _, other = carry_out(make_spec(base={"epochs": 3}, step=[]))
    assert [e["loss"] for e in of_kind(events, "epoch")] == [e["loss"] for e in of_kind(plain, "epoch")]
    assert not torch.equal(made[0].state["fc1.weight"], other[0].state["fc1.weight"])
    last = of_kind(events, "epoch")[-1]["validation_accuracy"]
    assert of_kind(events, "iteration")[0]["validation_accuracy"] == last, "what was measured is what is kept"


# ---- the best epoch


def test_best_and_patience_by_hand():
    network, accuracies, found = nn.Linear(1, 1), [0.5, 0.7, 0.7, 0.6, 0.8], None
    settings, over = Training(keep="best", patience=2), []
    for epoch, accuracy in enumerate(accuracies, 1):
        found = best_of.better(found, epoch, accuracy, network)
        over.append(best_of.is_over(settings, found, epoch))
    assert over == [False, False, False, True, False]
    assert (found["epoch"], found["accuracy"]) == (5, 0.8)
    assert best_of.outcome_text(settings, {"epoch": 2, "accuracy": 0.7}, 4, 9) == (
        "stopped after epoch 4 of 9, because 2 epochs brought no better validation accuracy; "
        "kept the weights of epoch 2, the best with 70.00% in validation"
    )
    assert best_of.outcome_text(settings, {"epoch": 4, "accuracy": 0.7}, 4, 4) == ""
    assert not best_of.is_over(Training(), found, 99)


def scripted(monkeypatch, accuracies):
    """Let the validation accuracies of the epochs be these; everything else is measured."""
    from trimcore.training.phases import training

    real, script = training.evaluate, iter(accuracies)

    def evaluate(*arguments):
        measured = real(*arguments)
        return measured.__class__(**{**vars(measured), "value": next(script)})

    monkeypatch.setattr(training, "evaluate", evaluate)


def test_the_weights_of_the_best_epoch_are_kept(make_spec, monkeypatch):
    scripted(monkeypatch, [0.5, 0.9, 0.9, 0.1, 0.2, 0.3])
    events, snapshots, made = carry_out(make_spec(base={"keep": "best", "epochs": 6, "patience": 2}, step=[]))
    assert [e["epoch"] for e in of_kind(events, "epoch")] == [1, 2, 3, 4]
    assert of_kind(events, "note")[-1]["text"].startswith("stopped after epoch 4 of 6")
    second = snapshots[1][1]["checkpoint"]["state"]
    assert all(torch.equal(tensor, second[name]) for name, tensor in made[0].state.items())
    assert made[0].epochs == 4


def test_patience_alone_keeps_the_last_epoch(make_spec, monkeypatch):
    scripted(monkeypatch, [0.9, 0.1, 0.2, 0.3])
    events, snapshots, made = carry_out(make_spec(base={"epochs": 4, "patience": 1}, step=[]))
    assert len(of_kind(events, "epoch")) == 2
    last = snapshots[1][1]["checkpoint"]["state"]
    assert all(torch.equal(tensor, last[name]) for name, tensor in made[0].state.items())


# ---- BatchNorm


def normalising() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
                         nn.Linear(108, 3))  # fmt: skip


def test_statistics_are_those_of_the_given_images():
    data, network = made_up(), normalising()
    network[1].running_mean.fill_(7)
    network.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    reestimate(network, Batches(data.train, data, 25, CPU))
    x = torch.cat([images for images, _ in Batches(data.train, data, 25, CPU)])
    with torch.no_grad():
        inside = network[0](x)
    torch.testing.assert_close(network[1].running_mean, inside.mean((0, 2, 3)), atol=1e-5, rtol=1e-5)
    halves = torch.stack([half.var((0, 2, 3)) for half in inside.split(25)]).mean(0)  # the mean over equal batches
    torch.testing.assert_close(network[1].running_var, halves, atol=1e-5, rtol=1e-5)
    assert not network.training
    assert network[1].momentum == 0.1
    for name, tensor in network.state_dict().items():
        assert "running" in name or "tracked" in name or torch.equal(tensor, before[name]), name
    assert has_batchnorm(network)
    assert not has_batchnorm(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.LayerNorm(3)))


def test_a_run_measures_with_and_without_new_statistics(make_spec, registry):
    @models.register("normalising", "for a test")
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3),
                             nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
                             nn.Linear(128, num_classes))  # fmt: skip

    asked = make_spec(model="normalising", step=[step("0", "3", rule="fraction", value=0.5)],
                      retrain={"epochs": 0, "batchnorm_examples": 100}, base={"epochs": 3})  # fmt: skip
    events, snapshots, made = carry_out(asked)
    without = asked.retrain.model_copy(update={"batchnorm_examples": 0})
    plain, _, _ = carry_out(asked.model_copy(update={"retrain": without}))
    (cut,), (old,) = of_kind(events, "initial"), of_kind(plain, "initial")
    assert cut["accuracy"] == old["accuracy"], "the accuracy right after the cut means what it meant"
    assert "accuracy_reestimated" not in old
    row = of_kind(events, "iteration")[1]
    assert row["accuracy_reestimated"] == cut["accuracy_reestimated"] == row["accuracy_final"]
    assert made[1].state["1.running_mean"].shape == (4,)
