"""INT8: which numbers are in the file, and which networks and files are refused."""

import os
import sys

import numpy as np
import pytest
import torch
from torch import nn

from trimcore import models
from trimcore.errors import TrimError
from trimcore.files import export as export_module
from trimcore.files.checkpoint import Checkpoint, widths_of
from trimcore.files.export import export
from trimcore.files.onnx_file import OnnxNetwork, write_onnx
from trimcore.files.quantization import check_classifier, quantize

onnx = pytest.importorskip("onnx")
numpy_helper = pytest.importorskip("onnx.numpy_helper")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


class Channels(nn.Module):
    """Two filters of very different size: with one scale for both, the second would be zero in 8 bits."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[[[1.0, -127], [63.5, 0]]], [[[1e-3, 0], [0.127, -0.0635]]]]))

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def lenet() -> Checkpoint:
    torch.manual_seed(0)
    arguments = {"num_classes": 10, "in_channels": 1, "image_size": 28}
    network = models.build("lenet5", **arguments)
    return Checkpoint("lenet5", arguments, widths_of(network), network.state_dict())


def images(count: int = 3, size: int = 28) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(4, 1, size, size, generator=generator) for _ in range(count)]


def weights(path, shape: tuple[int, ...] | None = None) -> dict[str, np.ndarray]:
    found = {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}
    return found if shape is None else {name: array for name, array in found.items() if array.shape == shape}


def test_weights_are_int8_with_a_scale_for_each_channel(tmp_path):
    network = Channels().eval()
    write_onnx(network, (images()[0],), tmp_path / "float.onnx")
    quantize(tmp_path / "float.onnx", tmp_path / "int8.onnx", images())
    (stored,) = weights(tmp_path / "int8.onnx", (2, 1, 2, 2)).values()
    assert stored.dtype == np.int8
    assert stored.reshape(2, 4).tolist() == [[1, -64, 32, 0], [1, 0, 64, -32]]  # seven bits: 127 becomes 64
    scales = [array for array in weights(tmp_path / "int8.onnx", (2,)).values() if array.dtype == np.float32]
    assert any(np.allclose(array, [127 / 64, 0.127 / 64], rtol=1e-6) for array in scales)


def test_the_file_computes_nearly_the_same_at_any_batch_size(tmp_path):
    network = Channels().eval()
    write_onnx(network, (images()[0],), tmp_path / "float.onnx")
    quantize(tmp_path / "float.onnx", tmp_path / "int8.onnx", images())
    x = images()[0]
    with torch.no_grad():
        wanted = network(x)
    for count in (1, 4):
        (found,) = OnnxNetwork(tmp_path / "int8.onnx")(x[:count])
        assert found.shape == (count, 2)
        assert (found - wanted[:count]).abs().max() < 0.02 * wanted.abs().max()


def test_an_exported_classifier_is_a_quarter_as_large_and_keeps_no_float_matrix(tmp_path):
    made = lenet()
    export(made, "onnx", tmp_path / "a.onnx")
    export(made, "onnx-int8", tmp_path / "a.int8.onnx", images())
    assert sorted(os.listdir(tmp_path)) == ["a.int8.onnx", "a.onnx"]
    sizes = [(tmp_path / name).stat().st_size for name in ("a.onnx", "a.int8.onnx")]
    assert 3.5 < sizes[0] / sizes[1] < 4
    matrices = [array for array in weights(tmp_path / "a.int8.onnx").values() if array.ndim > 1]
    assert sorted(array.size for array in matrices) == [500, 5_000, 25_000, 400_000]
    assert {array.dtype for array in matrices} == {np.dtype(np.int8)}
    operations = [node.op_type for node in onnx.load(tmp_path / "a.int8.onnx").graph.node]
    assert operations.count("QuantizeLinear") >= 4
    assert operations.count("DequantizeLinear") >= 8


class Two(nn.Module):
    def forward(self, x, y):
        return x


@pytest.mark.parametrize(
    ("example", "outputs", "reason"),
    [
        ((torch.zeros(2, 1, 8, 8), torch.zeros(2)), torch.zeros(2, 10), "takes 2 inputs"),
        ((torch.zeros(2, 5, dtype=torch.int64),), torch.zeros(2, 10), "does not take images"),
        ((torch.zeros(2, 1, 8, 8),), torch.zeros(2, 10, 8, 8), "returns a tensor of 4 dimensions"),
        ((torch.zeros(1, 3, 8, 8),), [{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}], "returns 2 tensors"),
    ],
)
def test_only_classifiers_of_images_are_quantized(example, outputs, reason):
    with pytest.raises(TrimError, match=f"needs a classifier that takes images.*; this network {reason}"):
        check_classifier(example, outputs)


def test_a_refused_network_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "noise", lambda made, batch: (torch.zeros(batch, 1, 28, 28),) * 2)
    monkeypatch.setattr(Checkpoint, "build", lambda made: Two())
    with pytest.raises(TrimError, match="this network takes 2 inputs"):
        export(lenet(), "onnx-int8", tmp_path / "a.onnx", images())
    assert os.listdir(tmp_path) == []


def test_a_network_without_operations_that_have_an_integer_form_is_refused(tmp_path):
    write_onnx(nn.Sequential(nn.Softplus(), nn.Flatten()).eval(), (images()[0],), tmp_path / "float.onnx")
    with pytest.raises(TrimError, match="cannot be quantized to INT8: none of its operations has an integer form"):
        quantize(tmp_path / "float.onnx", tmp_path / "int8.onnx", images())


def test_a_damaged_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"damaged\nfile")
    with pytest.raises(TrimError, match="this network cannot be quantized to INT8: ") as error:
        quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", images())
    assert "\n" not in str(error.value)
    with pytest.raises(TrimError, match="ONNX Runtime cannot open 'a.onnx': ") as error:
        OnnxNetwork(tmp_path / "a.onnx")
    assert "\n" not in str(error.value)


def test_images_to_calibrate_on_are_needed(tmp_path):
    with pytest.raises(TrimError, match="INT8 needs images to calibrate on, and there are none"):
        export(lenet(), "onnx-int8", tmp_path / "a.onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_the_error_names_a_missing_package(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    wanted = f"ONNX needs the package {name}: pip install onnx onnxscript onnxruntime"
    with pytest.raises(TrimError, match=wanted):
        export(lenet(), "onnx-int8", tmp_path / "a.onnx", images())
    assert os.listdir(tmp_path) == []


def test_scores_that_are_not_finite_are_refused(tmp_path, monkeypatch):
    class Broken(OnnxNetwork):
        def forward(self, *inputs):
            return [each.fill_(torch.nan) for each in super().forward(*inputs)]

    monkeypatch.setattr(export_module, "OnnxNetwork", Broken)
    with pytest.raises(TrimError, match="the onnx-int8 file computes something else"):
        export(lenet(), "onnx-int8", tmp_path / "a.onnx", images())
    assert os.listdir(tmp_path) == []
