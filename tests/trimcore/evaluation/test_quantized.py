"""INT8 beside float: with networks whose accuracy is known, and with a real LeNet-5."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from trimcore import models, tasks
from trimcore.data.dataset import Data
from trimcore.data.splits import Resident
from trimcore.errors import TrimError
from trimcore.evaluation import quantized
from trimcore.evaluation.quantized import COLUMNS, Pair, calibration_images, check_task, compare, measure, warnings_of
from trimcore.files.checkpoint import Checkpoint, widths_of
from trimcore.files.onnx_file import write_onnx
from trimcore.tasks.agreement import Agreement
from trimcore.tasks.classification import Classification

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def split(labels: list[int]) -> Resident:
    """Images that are dark (class 0) or bright (class 1) throughout, whatever their label says."""
    pixels = torch.tensor([40, 200, 40, 200, 200], dtype=torch.uint8)[torch.arange(len(labels)) % 5]
    return Resident(pixels.view(-1, 1, 1, 1).expand(-1, 1, 28, 28).contiguous(), torch.tensor(labels), 28, 1)


@pytest.fixture
def data() -> Data:
    """Five test images. The last is bright, but labelled 0."""
    labels = [0, 1, 0, 1, 0]
    return Data("lights", ("dark", "bright"), split(labels), split(labels * 60), split(labels), (0.5,), (0.5,), 1, 28)


class Bright(nn.Module):
    """Scores (-m, m) for a mean pixel of m, from -1 to 1, or always class 0."""

    def __init__(self, always_dark: bool = False):
        super().__init__()
        self.sign = 0.0 if always_dark else 1.0

    def forward(self, x):
        mean = x.mean((1, 2, 3)) * self.sign
        return torch.stack([-mean, mean], 1)


def lenet() -> Checkpoint:
    torch.manual_seed(0)
    arguments = {"num_classes": 2, "in_channels": 1, "image_size": 28}
    network = models.build("lenet5", **arguments)
    return Checkpoint("lenet5", arguments, widths_of(network), network.state_dict())


def test_accuracy_bytes_and_times_are_those_of_the_files(data, tmp_path, monkeypatch):
    """Four of five images by brightness; three of five are labelled 0."""
    for name, always_dark in (("float", False), ("int8", True)):
        write_onnx(Bright(always_dark).eval(), (torch.zeros(2, 1, 28, 28),), tmp_path / name)
    batches = []

    def medians(passes):
        batches.append([len(each()[0]) for each in passes])
        return [float(sum(batches[-1])), 1.0]

    monkeypatch.setattr(quantized, "medians", medians)
    table = measure({"base": Pair(0, tmp_path / "float", tmp_path / "int8")}, data)
    assert list(table.columns) == COLUMNS
    sizes = [(tmp_path / name).stat().st_size for name in ("float", "int8")]
    assert table.to_numpy().tolist() == [
        ["base", 0, "float", 0.8, sizes[0], 2.0, 32.0, 16], ["base", 0, "INT8", 0.6, sizes[1], 1.0, 1.0, 16],
    ]  # fmt: skip
    assert batches == [[1, 1], [16, 16]]


def test_calibration_takes_the_first_normalised_validation_images(data):
    batches = list(calibration_images(data))
    assert [len(batch) for batch in batches] == [32] * 8  # of 300 images
    bright = (200 / 255 - 0.5) / 0.5
    assert batches[0][1].unique().item() == pytest.approx(bright)


def test_networks_are_compared_side_by_side(data, monkeypatch):
    monkeypatch.setattr(quantized, "medians", lambda passes: [1.0] * len(passes))
    trimmed = lenet()
    trimmed.iteration = 3
    table = compare({"base": lenet(), "trimmed": trimmed}, data)
    assert table[["network", "iteration", "numbers"]].to_numpy().tolist() == [
        ["base", 0, "float"], ["base", 0, "INT8"], ["trimmed", 3, "float"], ["trimmed", 3, "INT8"],
    ]  # fmt: skip
    assert table.bytes[0] / table.bytes[1] > 3.5
    assert (table.accuracy >= 0).all()


def test_a_file_that_exists_is_measured_and_not_written_again(data, tmp_path, monkeypatch):
    write_onnx(Bright().eval(), (torch.zeros(2, 1, 28, 28),), tmp_path / "mine.onnx")
    monkeypatch.setattr(quantized, "medians", lambda passes: [1.0] * len(passes))
    table = compare({"base": lenet()}, data, {"base": tmp_path / "mine.onnx"})
    assert table.accuracy[1] == 0.8
    assert table.bytes[1] == (tmp_path / "mine.onnx").stat().st_size


@pytest.mark.parametrize(("int8", "warned"), [(0.90, False), (0.88, False), (0.875, True), (0.95, False)])
def test_a_warning_comes_beyond_two_points(int8, warned):
    rows = [["base", "float", 0.9], ["base", "INT8", 0.9], ["trimmed", "float", 0.9], ["trimmed", "INT8", int8]]
    lines = warnings_of(pd.DataFrame(rows, columns=["network", "numbers", "accuracy"]))
    text = "INT8 costs the trimmed network 2.5 percentage points of accuracy (90.00% in float, 87.50% in INT8)"
    assert lines == ([text] if warned else [])


def test_a_measured_loss_is_warned_of(data, tmp_path, monkeypatch):
    write_onnx(Bright().eval(), (torch.zeros(2, 1, 28, 28),), tmp_path / "a.onnx")
    accuracies = iter([0.9, 0.7])
    monkeypatch.setattr(quantized, "evaluate", lambda *_: SimpleNamespace(accuracy=next(accuracies)))
    monkeypatch.setattr(quantized, "medians", lambda passes: [1.0] * len(passes))
    (line,) = warnings_of(measure({"base": Pair(0, tmp_path / "a.onnx", tmp_path / "a.onnx")}, data))
    assert "20.0 percentage points" in line


def test_only_classifications_have_an_accuracy():
    check_task(Classification())
    check_task(Agreement())
    with pytest.raises(TrimError, match="it needs a classification; this run's task is segmentation"):
        check_task(tasks.task_for("segmentation"))


def test_a_damaged_file_is_refused(data, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"damaged")
    with pytest.raises(TrimError, match="ONNX Runtime cannot open 'a.onnx'"):
        measure({"base": Pair(0, tmp_path / "a.onnx", tmp_path / "a.onnx")}, data)
