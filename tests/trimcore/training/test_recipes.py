"""Recipes that bring accuracy back: each setting against numbers worked out by hand or another computation."""

import itertools
import math
import weakref
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.trimcore.training.runs import assert_resumes_identically, carry_out, of_kind, step
from tests.trimcore.training.test_epoch import CPU, made_up
from trimcore import models, spec
from trimcore.compute.layout import place
from trimcore.data.augmentation import AUGMENTATIONS, augmented
from trimcore.data.batches import Batches, Resident
from trimcore.errors import SpecError
from trimcore.spec import Training
from trimcore.training.batchnorm import reestimate
from trimcore.training.epoch import train_epoch
from trimcore.training.losses import balanced, supervised_loss
from trimcore.training.mixing import mixer
from trimcore.training.optimizer import learning_rate, make_optimizer


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])


def linear(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return place(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), CPU, torch.zeros(1, 1, 8, 8))


def trained(settings: Training, epochs: int = 1, model: nn.Module | None = None, after=None) -> nn.Module:
    model = model or linear()
    optimizer = make_optimizer(model, settings)
    for epoch in range(epochs):
        list(train_epoch(model, optimizer, made_up(), settings, CPU, epoch=epoch, epochs=epochs, seed=0,
                         after_step=after))  # fmt: skip
    return model


# ---- the optimizer and its rate


def test_adamw_one_step_by_hand():
    """Both moments are corrected for their start, so the first step is lr * sign(gradient), after the decay."""
    model = nn.Linear(2, 2)
    before = [p.detach().clone() for p in model.parameters()]
    settings = Training(optimizer="adamw", lr=0.1, weight_decay=0.5, momentum=0.8)
    optimizer = make_optimizer(model, settings)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.999)
    for p in model.parameters():
        p.grad = torch.full_like(p, -3.0)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), before[0] * (1 - 0.1 * 0.5) + 0.1)
    torch.testing.assert_close(model.bias.detach(), before[1] + 0.1)


def test_warm_up_and_schedule():
    rates = [learning_rate(i, 10, Training(lr=1.0, warmup=0.5, schedule="constant")) for i in range(10)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1])
    rates = [learning_rate(i, 5, Training(lr=1.0, warmup=0)) for i in range(5)]
    assert rates == pytest.approx([1, 1, *(0.5 * (1 + math.cos(math.pi * k / 4)) for k in (1, 2, 3))])


def test_the_rate_follows_the_optimizer_unless_it_is_given():
    read = {name: spec.loads(f"[retrain]\n{text}").retrain.lr for name, text in {
        "sgd": "", "adamw": 'optimizer = "adamw"', "given": 'optimizer = "adamw"\nlr = 0.02',
    }.items()}  # fmt: skip
    assert read == {"sgd": 0.02, "adamw": 0.001, "given": 0.02}
    assert spec.parse({"base": {"optimizer": "adamw"}}).base.lr == 0.001


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"retrain": {"optimizer": "adam"}}, "optimizer"),
        ({"retrain": {"label_smoothing": 1.0}}, "label_smoothing"),
        ({"retrain": {"accumulate": 0}}, "accumulate"),
        ({"retrain": {"ema": 1.0}}, "ema"),
        ({"retrain": {"optimizer": "adamw", "keep_momentum": True}}, "keep_momentum needs the same optimizer"),
        ({"convert": {"to": "relu", "keep": "best"}}, "each epoch trains another network"),
        ({"convert": {"to": "relu", "ema": 0.9}}, "each epoch trains another network"),
    ],
)
def test_settings_that_cannot_be_are_refused(values, complaint):
    with pytest.raises(SpecError, match=complaint):
        spec.parse(values)


# ---- the loss


def test_label_smoothing_by_hand():
    scores, labels = torch.tensor([[2.0, 1.0, -1.0]]), torch.tensor([1])
    logs = scores.log_softmax(1)[0]
    found = supervised_loss(Training(label_smoothing=0.3), made_up(), CPU)(None, scores, labels)
    assert found == pytest.approx(float(-(0.1 * logs[0] + 0.8 * logs[1] + 0.1 * logs[2])), rel=1e-6)


def test_balanced_classes_count_alike():
    data = made_up()
    labels = torch.tensor([0] * 6 + [2] * 2)
    data = data.__class__(**{**vars(data), "train": Resident(torch.zeros(8, 1, 8, 8, dtype=torch.uint8), labels, 8, 1)})
    assert balanced(data).tolist() == pytest.approx([8 / (3 * 6), 0, 8 / (3 * 2)])
    scores = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    by_class = [F.cross_entropy(scores[labels == c], labels[labels == c]) for c in (0, 2)]
    found = supervised_loss(Training(class_weights="balanced"), data, CPU)(None, scores, labels)
    assert found == pytest.approx(float(sum(by_class) / 2), rel=1e-6)


# ---- mixing


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_a_mixed_image_has_the_shares_that_its_label_says(way):
    mix, torch_images = mixer(Training(**{way: 1.0}), 4), torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 20, 20)
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        images, labels = mix(torch_images.clone(), torch.arange(4))
        assert labels.sum(1).tolist() == pytest.approx([1.0] * 4)
        for image, shares in zip(images, labels, strict=True):
            assert float(image.mean()) == pytest.approx(float((shares * torch.arange(4.0)).sum()), abs=1e-4)
            assert way == "mixup" or set(image.flatten().tolist()) <= {0.0, 1.0, 2.0, 3.0}
        seen.add(round(float(labels.max()), 3))
    assert len(seen) > 10


def test_both_ways_take_turns_and_none_is_none():
    mix, images = mixer(Training(mixup=1.0, cutmix=1.0), 4), torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 20, 20)
    torch.manual_seed(0)
    blended = [mix(images.clone(), torch.arange(4))[0].frac().any().item() for _ in range(40)]
    assert 8 < sum(blended) < 32
    assert mixer(Training(), 4) is None


def test_training_with_mixed_images_learns_and_repeats():
    settings = Training(mixup=0.4, cutmix=1.0, batch_size=16, lr=0.1)
    one, two = (flat(trained(settings, 2)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, flat(trained(Training(batch_size=16, lr=0.1), 2)))


# ---- gradients


@pytest.fixture
def float32(monkeypatch):
    """Gradients to seven digits: some CPUs train in bfloat16."""
    monkeypatch.setattr("trimcore.training.objective.autocast", lambda device: nullcontext())


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("batch_size", [25, 20])
def test_accumulated_batches_are_one_step(batch_size):
    """50 images in batches of 25, two for a step, are one batch of 50. With batches of 20, the last one of 10 counts
    as much as another, as documented."""
    whole = trained(Training(batch_size=50, momentum=0, lr=0.1))
    batches = math.ceil(50 / batch_size)
    parts = trained(Training(batch_size=batch_size, accumulate=batches, momentum=0, lr=0.1))
    same = torch.allclose(flat(whole), flat(parts), atol=1e-7)
    assert same == (batch_size == 25)


@pytest.mark.usefixtures("float32")
def test_an_incomplete_group_is_a_whole_step():
    """Three batches of 17, 17 and 16; two make the first step, and the last one alone the second."""
    seen, gradients = [], []
    model = linear()
    settings = Training(batch_size=17, accumulate=2, momentum=0, lr=0.1, schedule="constant", warmup=0, weight_decay=0)
    start = flat(model)
    trained(settings, model=model, after=lambda: seen.append(flat(model)))
    assert len(seen) == 2
    batches = list(Batches(made_up().train, made_up(), 17, CPU, seed=_order_seed()))
    replayed = linear()
    for group in (batches[:2], batches[2:]):
        replayed.zero_grad()
        sum(F.cross_entropy(replayed(x), y) / len(group) for x, y in group).backward()
        gradients.append(torch.cat([p.grad.double().flatten() for p in replayed.parameters()]))
        with torch.no_grad():
            for p in replayed.parameters():
                p -= 0.1 * p.grad
    torch.testing.assert_close(seen[0], start - 0.1 * gradients[0], atol=1e-7, rtol=0)
    torch.testing.assert_close(seen[1], flat(replayed), atol=1e-7, rtol=0)


def _order_seed() -> int:
    from trimcore.compute.seeds import derive_seed

    return derive_seed(0, 0, "order")


def test_gradients_are_clipped():
    model, moved = linear(), []
    before = [flat(model)]

    def note() -> None:
        moved.append(float((flat(model) - before[-1]).norm()))
        before.append(flat(model))

    settings = Training(batch_size=10, momentum=0, lr=0.5, warmup=0, schedule="constant", clip=0.01, weight_decay=0)
    trained(settings, model=model, after=note)
    assert moved == pytest.approx([0.5 * 0.01] * 5, rel=1e-3)


# ---- augmentation through torchvision


@pytest.mark.parametrize("augment", ["crop+flip", "trivial", "rand"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_changed_by_itself_and_reproducibly(augment, channels):
    image = torch.randint(0, 256, (channels, 20, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pixels, before = image.expand(60, -1, -1, -1), torch.random.get_rng_state()
    one, two = (augmented(pixels, augment, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), before), "the global random numbers go on as before"
    assert (one.shape, one.dtype) == (pixels.shape, torch.uint8)
    different = {tensor.numpy().tobytes() for tensor in one}
    assert len(different) > (40 if augment == "crop+flip" else 10)
    assert not torch.equal(one, augmented(pixels, augment, torch.Generator().manual_seed(6)))


def test_crops_come_from_inside_the_image():
    ramp = torch.arange(20, dtype=torch.uint8).mul(10).expand(1, 20, 20)
    crops = augmented(ramp.expand(200, -1, -1, -1), "crop+flip", torch.Generator().manual_seed(0)).int()
    rows = crops[:, 0, 10]
    rising = (rows.diff(dim=1) >= 0).all(1)
    falling = (rows.diff(dim=1) <= 0).all(1)
    assert (rising | falling).all()
    assert 60 < int(falling.sum()) < 140, "about half are flipped"
    width = (rows.amax(1) - rows.amin(1)) / 190
    assert width.min() > 0.4
    assert width.max() > 0.9


# ---- a run with all of it


RECIPES = {
    "adamw": {"optimizer": "adamw", "label_smoothing": 0.1, "clip": 1.0, "schedule": "constant", "warmup": 0.3},
    "mixed": {"mixup": 0.2, "cutmix": 1.0, "augment": "crop+flip", "accumulate": 2},
    "averaged": {"ema": 0.9, "augment": "trivial", "class_weights": "balanced"},
    "best": {"keep": "best", "patience": 2, "ema": 0.8, "augment": "rand"},
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_run_resumes_bit_identically(make_spec, recipe):
    asked = make_spec(
        step=[step("conv2", "fc1", rule="fraction", value=0.3, iterations=2)],
        base={"epochs": 3, **recipe}, retrain={"epochs": 3, "batchnorm_examples": 50, **recipe},
        control={"scratch": True},
    )  # fmt: skip
    assert_resumes_identically(asked, every=2)


def test_every_augmentation_can_be_written_in_a_spec():
    for augment, way in itertools.product(AUGMENTATIONS, ("base", "retrain")):
        assert getattr(spec.parse({way: {"augment": augment}}), way).augment == augment


# ---- one step's own settings


def test_a_step_has_an_optimizer_and_a_schedule_of_its_own(make_spec):
    own = {"optimizer": "adamw", "schedule": "constant", "warmup": 0.0, "epochs": 3, "keep": "best", "patience": 1}
    steps = [{"layers": ["fc1"], "rule": "count", "value": 3}, {"layers": ["fc1"], "rule": "count", "value": 3,
                                                                 "retrain": own}]  # fmt: skip
    asked = make_spec(step=steps)
    assert [asked.retrain_after(step).optimizer for step in asked.step] == ["sgd", "adamw"]
    events, snapshots, made = carry_out(asked)
    rates = {e["iteration"]: e["lr"] for e in of_kind(events, "epoch")}
    assert rates[2] == 0.001
    assert rates[1] != rates[2]
    for _, snapshot in snapshots[-3:-1]:
        _, _, again = carry_out(asked, resume=snapshot)
        assert all(torch.equal(tensor, made[2].state[name]) for name, tensor in again[2].state.items())


def test_a_step_estimates_batchnorm_where_it_asks(registry, make_spec):
    @models.register("normed", "with BatchNorm")
    def normed(num_classes, in_channels):
        return nn.Sequential(
            nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, num_classes),
        )

    step = {"layers": ["0"], "rule": "count", "value": 2}
    events, _, _ = carry_out(make_spec(model="normed", step=[step, {**step, "retrain": {"batchnorm_examples": 50}}]))
    assert ["accuracy_reestimated" in event for event in of_kind(events, "initial")] == [False, True]


def test_momentum_is_not_kept_for_another_optimizer(make_spec):
    step = {"layers": ["fc1"], "rule": "count", "value": 3, "retrain": {"optimizer": "adamw"}}
    with pytest.raises(SpecError, match="keep_momentum needs the same optimizer"):
        make_spec(retrain={"keep_momentum": True}, step=[step])


def test_batches_of_one_leave_the_statistics_of_batchnorm():
    norm = nn.BatchNorm1d(3)
    norm(torch.randn(20, 3))
    before = norm.running_mean.clone()
    reestimate(norm, [(torch.randn(1, 3), None)] * 5)
    assert torch.equal(norm.running_mean, before)
    reestimate(norm, [(torch.zeros(1, 3), None), (torch.ones(4, 3), None), (torch.full((2, 3), 4.0), None)])
    assert torch.allclose(norm.running_mean, torch.full((3,), 2.5))


def test_statistics_are_estimated_batch_by_batch():
    """No batch waits in memory for the others."""
    alive = []

    def batches():
        for _ in range(5):
            x = torch.randn(8, 3)
            alive.append(weakref.ref(x))
            assert sum(ref() is not None for ref in alive) <= 3
            yield x, None
            del x

    reestimate(nn.BatchNorm1d(3), batches())
    assert len(alive) == 5
