"""Training and evaluation: learning rates by hand, bit-identical epochs, measures compared with brute force."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trimcore import models
from trimcore.compute.layout import place
from trimcore.data import Data
from trimcore.data.batches import Batches, Resident
from trimcore.errors import TrimError
from trimcore.evaluation.accuracy import evaluate
from trimcore.spec import Training
from trimcore.training.epoch import Batch, EpochResult, derive_seed, train_epoch
from trimcore.training.optimizer import learning_rate, make_optimizer

CPU = torch.device("cpu")


def split(count: int, seed: int, size: int = 8) -> Resident:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)
    return Resident(pixels, torch.randint(0, 3, (count,), generator=generator), size, 1)


def made_up(size: int = 8) -> Data:
    parts = [split(count, seed, size) for seed, count in enumerate((50, 7, 1203))]
    return Data("made-up", ("a", "b", "c"), *parts, mean=(0.5,), std=(0.25,), channels=1, image_size=size)


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 3)
    )


def weights_after(settings: Training, seed: int, epochs: int = 2) -> torch.Tensor:
    model = place(network(), CPU, torch.zeros(1, 1, 8, 8))
    optimizer = make_optimizer(model, settings)
    for epoch in range(epochs):
        list(train_epoch(model, optimizer, made_up(), settings, CPU, epoch=epoch, epochs=epochs, seed=seed))
    return torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])


# --- the learning rate ---


def test_the_learning_rate_warms_up_over_a_tenth_then_follows_a_cosine():
    rates = [learning_rate(step, 20, Training(lr=0.4)) for step in range(20)]
    assert rates[:3] == pytest.approx([0.2, 0.4, 0.4])  # two warm-up steps, then the cosine starts at its peak
    assert rates[11] == pytest.approx(0.2)  # halfway through the 18 steps of the cosine
    assert rates[19] == pytest.approx(0.4 * 0.5 * (1 + math.cos(math.pi * 17 / 18)))
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_the_learning_rate_for_very_few_steps():
    assert learning_rate(0, 1, Training(lr=0.4)) == 0.4
    assert [learning_rate(step, 3, Training(lr=0.4)) for step in range(3)] == pytest.approx([0.4, 0.4, 0.2])


# --- seeds ---


def test_equal_parts_give_the_same_seed_on_every_machine():
    assert derive_seed(0, "weights") == 22282260633608590  # 8e e1 db 15 99 29 4f: sha256 of "(0, 'weights')", reversed
    assert derive_seed(3, "retrain", 1) == 44578262148755848


def test_different_parts_give_different_valid_seeds():
    seeds = {derive_seed(*parts) for parts in [(0, "a"), (0, "b"), (1, "a"), ("0", "a"), (0, "a", 0), ("a", 0), (0,)]}
    assert len(seeds) == 7
    for seed in seeds:
        torch.manual_seed(seed)


# --- the optimizer ---


def test_vectors_get_no_weight_decay():
    model = network()
    decayed, spared = make_optimizer(model, Training(weight_decay=0.25)).param_groups
    assert [p.shape for p in decayed["params"]] == [model[0].weight.shape, model[5].weight.shape]
    assert {p.dim() for p in spared["params"]} == {1}
    assert len(spared["params"]) == 4  # two biases, BatchNorm's weight and bias
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.25, 0.0)


def test_frozen_weights_are_excluded_and_zero_momentum_is_plain_sgd():
    model = network()
    model[0].requires_grad_(False)
    optimizer = make_optimizer(model, Training(momentum=0, lr=0.5))
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    assert not optimizer.param_groups[0]["nesterov"]


def test_weight_decay_of_one_step_by_hand():
    """With a zero gradient, a weight w becomes w (1 - lr * decay) and a bias is unchanged."""
    model = nn.Linear(2, 2)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = make_optimizer(model, Training(momentum=0, lr=0.5, weight_decay=0.1))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), before[0] * 0.95)
    assert torch.equal(model.bias.detach(), before[1])


# --- an epoch ---


def test_an_epoch_yields_every_batch_and_then_its_result():
    model, settings = network(), Training(batch_size=16, lr=0.1)
    *steps, result = train_epoch(
        model, make_optimizer(model, settings), made_up(), settings, CPU, epoch=1, epochs=2, seed=0
    )
    assert steps == [Batch(1, 4), Batch(2, 4), Batch(3, 4), Batch(4, 4)]  # 50 examples: the last batch has two
    assert isinstance(result, EpochResult)
    assert result.lr == pytest.approx(learning_rate(7, 8, Training(lr=0.1)))


def test_loss_and_accuracy_are_means_over_examples_not_batches():
    """With a learning rate of nearly zero the network does not change, so the means can be computed independently."""
    model, settings = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), Training(batch_size=48, lr=1e-30)
    data = made_up()
    *_, result = train_epoch(model, make_optimizer(model, settings), data, settings, CPU, epoch=0, epochs=1, seed=0)
    output = model((data.train.pixels / 255 - 0.5) / 0.25).detach()
    assert result.loss == pytest.approx(float(F.cross_entropy(output, data.train.labels)), rel=2e-2)  # bf16 perhaps
    assert result.accuracy == pytest.approx(float((output.argmax(1) == data.train.labels).double().mean()), abs=0.021)


def test_epochs_with_the_same_seed_are_bit_identical():
    settings = Training(batch_size=16, lr=0.1, augment="shift+flip")
    torch.manual_seed(5)
    first = weights_after(settings, seed=8)
    torch.manual_seed(6)  # the state of the global generator does not matter
    assert torch.equal(weights_after(settings, seed=8), first)
    assert not torch.equal(weights_after(settings, seed=9), first)


@pytest.mark.parametrize("change", [{"augment": "shift"}, {"lr": 0.2}, {"momentum": 0.5}, {"batch_size": 25}])
def test_every_setting_is_used(change):
    plain = Training(batch_size=16, lr=0.1)
    assert not torch.equal(weights_after(plain, 8), weights_after(plain.model_copy(update=change), 8))


def test_each_epoch_has_its_own_order():
    """Both epochs see the same examples, in different orders."""
    orders = []
    for epoch in (0, 1):
        seen, model, settings = [], nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), Training(batch_size=10)
        model.register_forward_pre_hook(lambda _, x, seen=seen: seen.append(x[0].detach().flatten(1)))
        list(train_epoch(model, make_optimizer(model, settings), made_up(), settings, CPU,
                         epoch=epoch, epochs=2, seed=0))  # fmt: skip
        orders.append(torch.cat(seen))
    assert not torch.equal(*orders)
    assert torch.equal(orders[0].sum(1).sort().values, orders[1].sum(1).sort().values)


def test_training_learns():
    data = made_up()
    rows = torch.arange(8).expand(50, 8) == data.train.labels[:, None]  # the label's row is white
    pixels = (rows[:, None, :, None] * 255).to(torch.uint8).expand(-1, 1, 8, 8)
    data = replace(data, train=replace(data.train, pixels=pixels))
    model, settings = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), Training(batch_size=10, lr=0.05)
    optimizer, losses = make_optimizer(model, settings), []
    for epoch in range(5):
        *_, result = train_epoch(model, optimizer, data, settings, CPU, epoch=epoch, epochs=5, seed=0)
        losses.append(result.loss)
    assert losses[4] < losses[0] / 2
    assert evaluate(model, data.train, data, CPU).accuracy == 1.0


def test_a_non_finite_loss_is_reported_in_one_line():
    model, settings = network(), Training(batch_size=16, lr=0.3)
    with torch.no_grad():
        model[5].weight[0, 0] = math.nan
    training = train_epoch(model, make_optimizer(model, settings), made_up(), settings, CPU, epoch=2, epochs=3, seed=0)
    with pytest.raises(TrimError, match=r"diverged in epoch 3 .*lower lr than 0\.3") as error:
        list(training)
    assert "\n" not in str(error.value)


# --- measures ---


def test_evaluation_equals_brute_force_over_all_examples():
    """1,203 examples make three batches, the last of which is short."""
    model, data = place(network(), CPU, torch.zeros(1, 1, 8, 8)), made_up()
    found = evaluate(model, data.test, data, CPU)
    with torch.no_grad():
        outputs = [model.eval()((image[None] / 255 - 0.5) / 0.25)[0] for image in data.test.pixels]
    right = sum(int(out.argmax()) == int(label) for out, label in zip(outputs, data.test.labels, strict=True))
    assert found.examples == 1203
    assert found.accuracy == right / 1203
    assert found.loss == pytest.approx(float(F.cross_entropy(torch.stack(outputs), data.test.labels)), rel=1e-5)


def test_evaluation_leaves_modes_and_buffers_unchanged():
    model = network()
    model[1].eval()  # a frozen BatchNorm in a network in training mode
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, made_up().test, made_up(), CPU)
    assert [m.training for m in model] == [True, False, True, True, True, True]
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_cut_network_can_be_trained():
    """The optimizer is built from the current parameters, so nothing has the old shapes."""
    from trimcore.surgery.cut import prune

    data = made_up(16)
    model = prune(models.build("lenet5", 3, 1, 16), {"conv2": range(40), "fc1": range(450)}, torch.zeros(1, 1, 16, 16))
    settings = Training(batch_size=25)
    optimizer = make_optimizer(model, settings)
    list(train_epoch(model, optimizer, data, settings, CPU, epoch=0, epochs=1, seed=0))
    held = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert held == 20 * 25 + 20 + 10 * 20 * 25 + 10 + 50 * 10 + 50 + 3 * 50 + 3


# --- auxiliary heads


class Headed(nn.Module):
    """Returns a tuple in training mode, as GoogLeNet does."""

    def __init__(self):
        super().__init__()
        self.main, self.side = nn.Linear(64, 4), nn.Linear(64, 4)

    def forward(self, x):
        x = x.flatten(1)
        return (self.main(x), self.side(x)) if self.training else self.main(x)


def test_the_loss_of_an_auxiliary_head_has_weight_0_3():
    torch.manual_seed(0)
    data, network = made_up(), Headed()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    settings = Training(batch_size=len(data.train), lr=0.1, momentum=0.0, weight_decay=0.0)
    optimizer = make_optimizer(network, settings)
    list(train_epoch(network, optimizer, data, settings, torch.device("cpu"), epoch=0, epochs=1, seed=0))
    x, y = next(iter(Batches(data.train, data, len(data.train), "cpu")))
    for layer, share in (("main", 1.0), ("side", 0.3)):
        weight, bias = (before[f"{layer}.{kind}"].requires_grad_() for kind in ("weight", "bias"))
        loss = nn.functional.cross_entropy(nn.functional.linear(x.flatten(1), weight, bias), y)
        (slope,) = torch.autograd.grad(loss, weight)
        moved = (weight - network.get_submodule(layer).weight).detach() / optimizer.param_groups[0]["lr"]
        assert torch.allclose(moved, share * slope, atol=2e-2 * float(slope.abs().max()))


def test_a_last_batch_of_one_example_is_skipped():
    """BatchNorm cannot train on a single example."""
    data = made_up()
    settings = Training(batch_size=len(data.train) - 1)
    norm = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))
    *_, result = train_epoch(norm, make_optimizer(norm, settings), data, settings, torch.device("cpu"),
                             epoch=0, epochs=1, seed=0)  # fmt: skip
    assert norm[2].num_batches_tracked == 1
    assert result.images_per_second > 0
