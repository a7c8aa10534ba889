"""The built-in tasks: losses and metrics against numbers by hand, and batches that they refuse."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trimcore import tasks
from trimcore.errors import DataError, SpecError, TrimError
from trimcore.tables.metric import Metric
from trimcore.tasks import Task, task_for
from trimcore.tasks.task import Tally

CPU = torch.device("cpu")


def of(name: str, outputs: int) -> Task:
    task = task_for(name)
    task.outputs = outputs
    return task


class Given(nn.Module):
    """Returns what it was made with, whatever it is asked."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, x):
        return self.outputs


def values(task: Task, outputs, targets, inputs=None) -> dict[str, float]:
    tally = Tally(task, CPU)
    tally.add(*task.predict(Given(outputs), (torch.zeros(len(targets), 1) if inputs is None else inputs, targets)))
    return tally.values()


# ---- metrics and losses


def test_the_headline_metrics_and_their_directions():
    found = {name: of(name, 3).metric for name in ("classification", "multi-label", "regression", "segmentation",
                                                    "detection")}  # fmt: skip
    assert found == {
        "classification": Metric("accuracy", True, True), "multi-label": Metric("F1", True, True),
        "regression": Metric("MAE", False, False), "segmentation": Metric("mIoU", True, True),
        "detection": Metric("mAP", True, True),
    }  # fmt: skip


def test_the_intersection_over_union_by_hand():
    """Class 0: 2 of 3 pixels in the union; class 1: 1 of 2; class 2 is absent from targets and predictions, and does
    not count. The pixel marked 255 counts nowhere."""
    targets = torch.tensor([[[0, 0, 1], [1, 255, 0]]])
    predicted = torch.tensor([[[0, 0, 1], [0, 2, 0]]])
    scores = F.one_hot(predicted, 3).permute(0, 3, 1, 2).float()
    found = values(of("segmentation", 3), scores, targets)
    assert found["mIoU"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found["pixel accuracy"] == pytest.approx(4 / 5)


def test_scores_of_a_segmentation_are_resized_to_the_targets():
    scores = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(3, (2, 8, 8))
    wanted = F.cross_entropy(F.interpolate(scores, (8, 8), mode="bilinear"), targets)
    assert of("segmentation", 3).loss(Given(scores), (torch.zeros(2, 1), targets)) == pytest.approx(float(wanted))


def test_the_errors_of_a_regression_by_hand():
    found = values(of("regression", 2), torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0, 4.0], [0.0, 0.0]]))
    assert found["MAE"] == pytest.approx((0 + 2 + 3 + 0) / 4)
    assert found["RMSE"] == pytest.approx(math.sqrt((4 + 9) / 4))


def test_one_value_may_come_without_a_dimension():
    task, model = of("regression", 1), Given(torch.tensor([[1.0], [2.0]]))
    assert task.loss(model, (torch.zeros(2, 1), torch.tensor([1.0, 4.0]))) == pytest.approx(2.0)
    assert values(task, torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]))["MAE"] == pytest.approx(1.0)


def test_the_f1_score_by_hand():
    """2 right of 3 predicted, of 4 true labels: precision 2/3, recall 1/2."""
    scores = torch.tensor([[2.0, -1.0, -1.0], [3.0, 0.5, -2.0]])
    targets = torch.tensor([[1, 1, 0], [0, 1, 1]])
    found = values(of("multi-label", 3), scores, targets)
    assert found["F1"] == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    assert found["label accuracy"] == pytest.approx(3 / 6)


def test_a_found_box_counts_at_the_thresholds_that_it_reaches():
    """One object, found by a box whose overlap is 0.82: right at 0.5 to 0.8, seven of ten thresholds."""
    truth = [{"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])}]
    boxes = {"boxes": torch.tensor([[0.0, 0, 10, 8.2]]), "labels": torch.tensor([1]), "scores": torch.tensor([0.9])}
    found = values(of("detection", 2), [boxes], truth, [torch.zeros(1, 4, 4)])
    assert found["mAP50"] == pytest.approx(1.0)
    assert found["mAP"] == pytest.approx(0.7)


def test_the_losses_of_a_detector_are_added():
    model = Given({"boxes": torch.tensor(1.5), "centres": torch.tensor(2.0)})
    model.forward = lambda images, targets: model.outputs
    assert of("detection", 2).loss(model, ([torch.zeros(1, 4, 4)], [{}])) == pytest.approx(3.5)


# ---- what is refused


@pytest.mark.parametrize(("name", "targets", "message"), [
    ("classification", torch.tensor([0, 3]), "labels range from 0 to 3, but there are 3 classes: 0 to 2"),
    ("classification", torch.tensor([0.0, 1.0]), "class numbers, not torch.float32"),
    ("classification", torch.zeros(2, 3, dtype=torch.long), "of 1 dimensions, not of shape (2, 3)"),
    ("segmentation", torch.full((2, 4, 4), 7), "labels range from 7 to 7, but there are 3 classes"),
    ("segmentation", torch.zeros(2, dtype=torch.long), "of 3 dimensions"),
    ("multi-label", torch.tensor([[0, 1, 2], [0, 0, 0]]), "0 or 1 for each label, but range from 0 to 2"),
    ("multi-label", torch.zeros(2), "for each of 3 labels, not of shape (2,)"),
    ("regression", torch.tensor([[0.0, float("nan"), 1.0]]), "must be finite"),
    ("regression", torch.zeros(2, 5), "3 value(s) per example, not of shape (2, 5)"),
    ("detection", [{"boxes": torch.zeros(1, 4), "labels": torch.tensor([4])}] * 2, "labels range from 4 to 4"),
    ("detection", [{"labels": torch.tensor([0])}] * 2, "a dict with boxes (N, 4) and labels (N,)"),
    ("detection", torch.zeros(2), "a list with one dict per image"),
])  # fmt: skip
def test_bad_targets_are_refused_in_one_line(name, targets, message):
    with pytest.raises(DataError) as error:
        of(name, 3).check(([torch.zeros(1, 4, 4)] * 2, targets))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("batch", [torch.zeros(3), (torch.zeros(2),), {"x": 1}])
def test_a_batch_is_a_pair(batch):
    with pytest.raises(DataError, match=r"needs batches of \(inputs, targets\)"):
        of("regression", 1).check(batch)


def test_a_task_with_inputs_of_its_own_takes_any_batch():
    class Words(Task):
        def inputs(self, batch):
            return batch["words"]

    Words().check({"words": torch.zeros(2)})


def test_images_of_different_sizes_are_refused():
    with pytest.raises(DataError, match="resize them to one size"):
        of("detection", 1).check(([torch.zeros(1, 4, 4), torch.zeros(1, 5, 4)], [{}, {}]))


class Odd:
    """A metric that says nothing sensible."""

    higher_is_better = True

    def __init__(self, value):
        self.value = value

    def to(self, device):
        return self

    def update(self, predictions, targets):
        return None

    def compute(self):
        return self.value


@pytest.mark.parametrize("value", [None, "good", torch.zeros(3), float("nan")])
def test_a_metric_that_gives_no_number_is_named(value):
    class Own(Task):
        name = "mine"

        def metrics(self):
            return {"taste": Odd(value)}

    with pytest.raises(TrimError, match=r"task 'mine': metric 'taste' (gives|is) "):
        Tally(Own(), CPU).values()


def test_a_metric_must_have_a_direction():
    class Own(Task):
        name = "mine"

        def metrics(self):
            return {"taste": object()}

    with pytest.raises(TrimError, match="does not say whether higher is better"):
        _ = Own().metric


# ---- names


def test_every_task_has_one_line():
    lines = tasks.listed()
    assert list(lines)[:5] == ["classification", "multi-label", "regression", "segmentation", "detection"]
    assert all(line and "\n" not in line for line in lines.values())


@pytest.mark.parametrize(("name", "message"), [
    ("segmentations", "unknown task 'segmentations'; expected classification"), ("a b:C", "package.module:"),
    ("nowhere.at.all:Task", "cannot import nowhere.at.all"), ("math:pi", "is a float, not a subclass"),
    ("math:nothing", "has no 'nothing'"),
])  # fmt: skip
def test_an_unusable_name_is_refused_in_one_line(name, message):
    with pytest.raises(SpecError) as error:
        task_for(name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_of_ones_own_is_found_by_its_module(tmp_path, monkeypatch):
    (tmp_path / "my_tasks.py").write_text("import trimcore as tc\nclass Depth(tc.Task):\n    name = 'depth'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert task_for("my_tasks:Depth").name == "depth"


def test_a_built_in_name_is_taken():
    with pytest.raises(SpecError, match="built-in task"):
        tasks.register("detection")
