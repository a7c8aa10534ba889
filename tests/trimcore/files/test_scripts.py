"""Exports and their scripts where trimcore cannot be imported: in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.trimcore.files.test_export import trimmed
from trimcore import models
from trimcore.errors import TrimError
from trimcore.files.checkpoint import Checkpoint, widths_of
from trimcore.files.export import export
from trimcore.files.scripts import script_paths, write_scripts

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
BLOCKER = """
import os, sys
from importlib.machinery import PathFinder

class Blocker:
    def find_spec(self, name, path=None, target=None):
        blocked = name.partition(".")[0] in os.environ["BLOCKED"].split()
        return None if blocked else PathFinder.find_spec(name, path, target)

sys.meta_path = [finder for finder in sys.meta_path if finder is not PathFinder] + [Blocker()]
"""


@pytest.fixture
def alone(tmp_path):
    """alone(arguments, blocked="torch") runs Python in `tmp_path / "out"` without trimcore and those packages."""
    (tmp_path / "site").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKER)

    def run(*arguments: str, blocked: str = "") -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "BLOCKED": f"trimcore tests {blocked}"}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path / "out", env=environment, capture_output=True, text=True)

    return run


def written(made: Checkpoint, format: str, out: Path) -> list[str]:
    export(made, format, out, [torch.zeros(1, 1, 28, 28)])
    return sorted(path.name for path in write_scripts(made, format, out))


def expected(made: Checkpoint, x: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return made.build().eval()(torch.from_numpy(x))


def test_the_environment_has_no_trimcore(alone):
    assert "No module named 'trimcore'" in alone("-c", "import trimcore").stderr
    assert "No module named 'torch'" in alone("-c", "import torch", blocked="torch").stderr


def test_weights_and_programs_are_loaded_with_torch_alone(alone, tmp_path):
    out = tmp_path / "out"
    plain, units = trimmed(), trimmed("lenet5-maxout")
    scripts = ["a.architecture.pt2", "load_network.py", "time_export.py"]
    assert written(plain, "state_dict", out / "a.pt") == scripts
    assert written(units, "safetensors", out / "b.safetensors") == ["b.architecture.pt2", *scripts[1:]]
    assert written(plain, "pt2", out / "c.pt2") == ["time_export.py"]
    x = np.random.default_rng(0).standard_normal((3, 1, 28, 28)).astype(np.float32)
    np.save(out / "x.npy", x)
    done = alone("-c", """
import numpy as np, torch
from load_network import load
x = torch.from_numpy(np.load("x.npy"))
networks = {"a": load("a.pt"), "b": load("b.safetensors"), "c": torch.export.load("c.pt2").module()}
with torch.no_grad():
    for name, network in networks.items():
        np.save(name, torch.cat([network(x), network(x[:1])]).numpy())
""")  # fmt: skip
    assert not done.returncode, done.stderr
    for name, made in (("a", plain), ("b", units), ("c", plain)):
        found, wanted = torch.from_numpy(np.load(out / f"{name}.npy")), expected(made, x)
        torch.testing.assert_close(found, torch.cat([wanted, wanted[:1]]), rtol=1e-5, atol=1e-5)


def test_onnx_is_loaded_with_onnx_runtime_alone(alone, tmp_path):
    pytest.importorskip("onnxscript")
    made, out = trimmed(), tmp_path / "out"
    export(made, "onnx", out / "a.onnx")
    x = np.random.default_rng(0).standard_normal((3, 1, 28, 28)).astype(np.float32)
    np.save(out / "x.npy", x)
    code = "import numpy as np, onnxruntime; session = onnxruntime.InferenceSession('a.onnx'); "
    code += "np.save('y', session.run(None, {'images': np.load('x.npy')})[0])"
    done = alone("-c", code, blocked="torch onnx onnxscript")
    assert not done.returncode, done.stderr
    torch.testing.assert_close(torch.from_numpy(np.load(out / "y.npy")), expected(made, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("format", "name", "runtime"),
    [
        ("state_dict", "a.pt", "PyTorch"), ("pt2", "a.pt2", "PyTorch"), ("onnx", "a.onnx", "ONNX Runtime"),
        ("onnx-int8", "a.int8.onnx", "ONNX Runtime"),
    ],
)  # fmt: skip
def test_the_script_times_the_file_with_its_runtime_alone(alone, tmp_path, format, name, runtime):
    pytest.importorskip("onnxscript")
    written(trimmed(), format, tmp_path / "out" / name)
    blocked = "torch onnx onnxscript" if runtime == "ONNX Runtime" else "onnx onnxruntime onnxscript safetensors"
    done = alone("time_export.py", name, blocked=blocked)
    assert not done.returncode, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["runtime", "batch", "ms"]
    assert [row.rsplit(maxsplit=2)[:2] for row in rows] == [[runtime, "1"], [runtime, "16"]]
    assert all(0 < float(row.split()[-1]) < 10_000 for row in rows)


def test_the_layers_take_little_room_and_have_no_weights(tmp_path):
    arguments = {"num_classes": 10, "in_channels": 1, "image_size": 28}
    network = models.build("lenet5", **arguments)
    made = Checkpoint("lenet5", arguments, widths_of(network), network.state_dict())
    written(made, "state_dict", tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size > 20 * (tmp_path / "a.architecture.pt2").stat().st_size
    values = torch.export.load(tmp_path / "a.architecture.pt2").state_dict.values()
    assert not any(tensor.any() for tensor in values)


class Tied(nn.Module):
    """One weight in two layers, and a buffer that no state dict has."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(64, 64), nn.Linear(64, 64)
        self.two.weight = self.one.weight
        self.register_buffer("shift", torch.arange(64.0), persistent=False)

    def forward(self, x):
        return self.two(torch.relu(self.one(x.flatten(1)))) + self.shift


def test_shared_weights_and_hidden_buffers_survive(tmp_path, registry):
    models.register("tied", "for a test", channels=1)(lambda **_: Tied())
    arguments = {"num_classes": 64, "in_channels": 1, "image_size": 8}
    network = models.build("tied", **arguments)
    made = Checkpoint("tied", arguments, widths_of(network), network.state_dict())
    paths = written(made, "state_dict", tmp_path / "a.pt")  # compares the loaded network with `made`
    assert "a.architecture.pt2" in paths


def test_another_network_is_noticed(tmp_path):
    export(trimmed(), "state_dict", tmp_path / "a.pt")
    other = trimmed()
    other.state["fc2.bias"] = other.state["fc2.bias"] + 1
    with pytest.raises(TrimError, match="the state_dict file computes something else"):
        write_scripts(other, "state_dict", tmp_path / "a.pt")
    assert "a.architecture.pt2" not in os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("format", "name", "message"),
    [
        ("sparse", "a.sparse.safetensors", "only trimcore reads sparse files"),
        ("onnx", "a.bin", "it must end in .onnx, unlike 'a.bin'"),
        ("state_dict", "weights", "it must end in .pt, unlike 'weights'"),
    ],
)
def test_files_that_no_script_knows_are_refused(tmp_path, format, name, message):
    with pytest.raises(TrimError, match=message):
        write_scripts(trimmed(), format, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_network_that_is_no_program_is_refused_in_one_line(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("it branches on a value\nmore lines")

    export(made := trimmed(), "state_dict", tmp_path / "a.pt")
    monkeypatch.setattr(torch.export, "export", refuse)
    with pytest.raises(TrimError, match="as a torch.export program: it branches on a value$"):
        write_scripts(made, "state_dict", tmp_path / "a.pt")


def test_paths_are_those_that_are_written(tmp_path):
    made, out = trimmed(), tmp_path / "a.pt"
    export(made, "state_dict", out)
    assert write_scripts(made, "state_dict", out) == script_paths("state_dict", out)
    assert all(path.is_file() for path in script_paths("state_dict", out))
