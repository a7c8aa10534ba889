"""Networks that are at hand, written for other programs."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import trimcore as tc
from trimcore.errors import TrimError


class TwoHeads(nn.Module):
    """Two inputs, and a dict of two outputs."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.classes, self.size = nn.Linear(8, 5), nn.Linear(9, 1)

    def forward(self, images, extra):
        features = torch.relu(self.norm(self.stem(images))).mean((2, 3))
        return {"classes": self.classes(features), "size": self.size(torch.cat([features, extra], 1))}


def trimmed() -> tuple[nn.Module, tuple]:
    torch.manual_seed(0)
    example = (torch.randn(1, 3, 12, 12), torch.randn(1, 1))
    return tc.prune(TwoHeads(), {"stem": [0, 3]}, example), example


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_program_is_loaded_without_trimcore_and_computes_the_same(tmp_path):
    network, example = trimmed()
    network.train()
    assert tc.export(network, example, tmp_path / "small.pt2") < 1e-6
    assert network.training
    torch.manual_seed(1)
    inputs = (torch.randn(7, 3, 12, 12), torch.randn(7, 1))
    torch.save([inputs, network.eval()(*inputs)], tmp_path / "wanted.pt")
    program = (
        "import sys, torch\nsys.modules['trimcore'] = None\n"
        "inputs, wanted = torch.load('wanted.pt')\nfound = torch.export.load('small.pt2').module()(*inputs)\n"
        "assert found.keys() == wanted.keys()\n"
        "assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in wanted)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=120)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_onnx_computes_the_same_for_any_batch_size(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    network, example = trimmed()
    assert tc.export(network, example, tmp_path / "small.onnx") < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx")
    inputs = (torch.randn(4, 3, 12, 12), torch.randn(4, 1))
    names = [each.name for each in session.get_inputs()]
    found = session.run(None, {name: each.numpy() for name, each in zip(names, inputs, strict=True)})
    wanted = network.eval()(*inputs).values()
    assert all(torch.allclose(torch.from_numpy(a), b, atol=1e-5) for a, b in zip(found, wanted, strict=True))


def test_another_ending_is_refused(tmp_path):
    network, example = trimmed()
    with pytest.raises(TrimError, match=r"unknown ending '.pt' of .*; expected one of .pt2, .onnx"):
        tc.export(network, example, tmp_path / "small.pt")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(tmp_path):
    network, example = trimmed()
    (tmp_path / "file").touch()
    with pytest.raises(TrimError, match="cannot write"):
        tc.export(network, example, tmp_path / "file" / "small.pt2")
