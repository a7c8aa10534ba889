"""Distillation: its loss checked by hand, an unchanged teacher, and runs that resume identically."""

import copy
import math

import pytest
import torch
from torch import nn

from tests.trimcore.training.runs import assert_resumes_identically, carry_out, of_kind, save_parent, step
from trimcore.spec import Distill
from trimcore.training.distillation import distillation_loss, soft_divergence
from trimcore.training.loop import trim
from trimcore.training.losses import cross_entropy
from trimcore.training.state import restore

CPU = torch.device("cpu")
TAUGHT = {"weight": 0.5, "temperature": 2.0}


class Fixed(nn.Module):
    """Returns the same scores for any input."""

    def __init__(self, scores: torch.Tensor):
        super().__init__()
        self.scores = scores

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores


def test_the_loss_by_hand():
    """At T = 2, scores (2 ln 3, 0) give probabilities 3/4 and 1/4, equal scores 1/2: KL = 3/4 ln 3/2 + 1/4 ln 1/2."""
    theirs, own = torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2)
    far = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert float(soft_divergence(own, theirs, 2.0)) == pytest.approx(far)
    both = torch.cat([own, theirs]), torch.cat([theirs, theirs])
    assert float(soft_divergence(*both, 2.0)) == pytest.approx(far / 2)  # the mean of `far` and 0
    loss = distillation_loss(Fixed(theirs), Distill(weight=0.25, temperature=2.0), CPU)
    assert float(loss(torch.zeros(1), own, torch.tensor([1]))) == pytest.approx(0.75 * math.log(2) + 0.25 * far)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0])
def test_the_gradient_matches_the_paper(temperature):
    """Hinton et al. 2015, equation 2, times T^2: T * (q - p) per example, divided by the number of examples."""
    generator = torch.Generator().manual_seed(0)
    own, theirs = (3 * torch.randn(6, 10, generator=generator, dtype=torch.float64) for _ in range(2))
    soft_divergence(own.requires_grad_(), theirs, temperature).backward()
    wanted = temperature * ((own / temperature).softmax(1) - (theirs / temperature).softmax(1)) / 6
    assert torch.allclose(own.grad, wanted.detach())


def test_the_weight_interpolates_between_labels_and_teacher():
    scores, labels = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])
    teacher = Fixed(scores.flip(0))
    images = torch.zeros(4)
    alone = distillation_loss(teacher, Distill(weight=0.0), CPU)(images, scores, labels)
    assert torch.equal(alone, cross_entropy(images, scores, labels))
    whole = distillation_loss(teacher, Distill(weight=1.0, temperature=3.0), CPU)(images, scores, labels)
    assert torch.allclose(whole, soft_divergence(scores, scores.flip(0), 3.0))


def test_the_teacher_is_in_evaluation_mode_and_not_trained():
    teacher = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3)).train()
    before = copy.deepcopy(teacher.state_dict())
    loss = distillation_loss(teacher, Distill(**TAUGHT), CPU)
    student, x, y = nn.Linear(5, 3), torch.randn(8, 5), torch.zeros(8, dtype=torch.int64)
    values = [loss(x, student(x), y) for _ in range(2)]
    assert values[0] == values[1]  # no dropout
    values[0].backward()
    assert student.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


def test_only_retraining_distils_from_the_network_of_iteration_0(make_spec):
    plain, _, unlike = carry_out(make_spec(step=[step("conv2")]))
    taught, snapshots, made = carry_out(make_spec(step=[step("conv2")], distill=TAUGHT))
    assert all(torch.equal(made[0].state[name], tensor) for name, tensor in unlike[0].state.items())
    assert of_kind(plain, "pruned") == of_kind(taught, "pruned")
    assert not torch.equal(made[1].state["fc1.weight"], unlike[1].state["fc1.weight"])
    teacher = snapshots[-1][1]["teacher"]
    assert teacher["widths"] == made[0].widths
    assert all(torch.equal(teacher["state"][name], tensor) for name, tensor in made[0].state.items())


def test_distillation_can_be_set_per_step(make_spec):
    plain, alone = step("conv2"), {**step("fc1"), "retrain": {"distill": 0.0}}
    taught = {**step("fc1"), "retrain": {"distill": TAUGHT["weight"]}}
    weights = {}
    for name, steps, distill in (
        ("never", [plain, step("fc1")], {}), ("not at last", [plain, alone], TAUGHT),
        ("only at last", [plain, taught], {**TAUGHT, "weight": 0.0}), ("always", [plain, step("fc1")], TAUGHT),
    ):  # fmt: skip
        _, _, made = carry_out(make_spec(step=steps, distill=distill))
        weights[name] = [made[iteration].state["fc2.weight"] for iteration in range(3)]

    def same(one: str, other: str, iteration: int) -> bool:
        return torch.equal(weights[one][iteration], weights[other][iteration])

    assert all(same("never", name, 0) for name in weights)
    assert same("not at last", "always", 1)
    assert not same("not at last", "always", 2)
    assert same("only at last", "never", 1)
    assert not same("only at last", "never", 2)


def test_a_snapshot_without_distillation_has_no_teacher(make_spec):
    _, snapshots, _ = carry_out(make_spec(step=[step("conv2")]))
    assert {content["teacher"] for _, content in snapshots} == {None}
    older = {key: value for key, value in snapshots[0][1].items() if key != "teacher"}
    assert restore(older).teacher is None


def test_a_run_with_distillation_resumes_bit_identical(make_spec):
    spec = make_spec(step=[step("conv2", iterations=2)], distill=TAUGHT, retrain={"epochs": 2})
    assert assert_resumes_identically(spec) == 2 + 1 + 2 * (1 + 2 + 1)


def test_the_teacher_of_a_branch_is_its_starting_network(make_spec, tmp_path):
    _, _, made = carry_out(make_spec(step=[step("conv2")]))
    spec = make_spec(step=[step("conv2")], distill=TAUGHT, parent=save_parent(made[1], tmp_path))
    last = [event.payload() for event in trim(spec, runs=tmp_path) if event.kind == "epoch"][-1]
    assert last["teacher"]["widths"]["conv2"] == 47
    assert torch.equal(last["teacher"]["state"]["conv2.weight"], made[1].state["conv2.weight"])
