"""Runtimes side by side: medians by hand, reasons for those that are missing, and torch.compile for real."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from trimcore.errors import TrimError
from trimcore.evaluation import compilation, runtimes
from trimcore.evaluation.runtimes import RuntimeLatency, compare_runtimes
from trimcore.timing import turns

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
EXAMPLE = torch.arange(6.0).reshape(1, 2, 3)
NAMES = ["PyTorch", "torch.compile", "ONNX Runtime", "OpenVINO"]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Softplus(), nn.Dropout())


@pytest.fixture
def none_compiled(monkeypatch) -> None:
    """torch.compile and OpenVINO are missing."""

    def refuse(*_):
        raise TrimError("there is no C++ compiler")

    monkeypatch.setattr(runtimes, "compiled", refuse)
    monkeypatch.setitem(sys.modules, "openvino", None)


def test_every_runtime_has_a_row_for_every_batch(network, none_compiled):
    rows = compare_runtimes(network, EXAMPLE, [1, 3], rounds=2)
    assert [(row.runtime, row.batch) for row in rows] == [(name, batch) for batch in (1, 3) for name in NAMES]
    for row in rows:
        assert (row.ms is None) == bool(row.reason)
    reasons = {row.runtime: row.reason for row in rows}
    assert reasons["torch.compile"] == "there is no C++ compiler"
    assert reasons["OpenVINO"] == "it is not installed: pip install openvino"
    assert reasons["PyTorch"] == reasons["ONNX Runtime"] == ""
    assert network.training


def test_medians_are_those_of_each_runtime_in_turns(network, none_compiled, monkeypatch):
    """PyTorch takes 3 s, ONNX Runtime 1 s; only the passes themselves advance the clock."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(turns, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    class Slow(runtimes.OnnxNetwork):
        def forward(self, *inputs):
            clock.now += 1
            return super().forward(*inputs)

    def slower(*_):
        clock.now += 3

    monkeypatch.setattr(runtimes, "OnnxNetwork", Slow)
    network.register_forward_hook(slower)
    rows = compare_runtimes(network, EXAMPLE, [2], limit_seconds=1000)
    assert [row.ms for row in rows] == [3000.0, None, 1000.0, None]


def test_a_runtime_that_computes_something_else_has_no_time(network, none_compiled, monkeypatch):
    class Wrong(runtimes.OnnxNetwork):
        def forward(self, *inputs):
            return [each + 1e-2 * each.abs().max() for each in super().forward(*inputs)]

    monkeypatch.setattr(runtimes, "OnnxNetwork", Wrong)
    row = compare_runtimes(network, 10 * EXAMPLE, [2])[2]
    assert row == RuntimeLatency("ONNX Runtime", 2, None, "it computes something else than PyTorch")


def test_openvino_computes_in_float32_with_as_many_threads(network, none_compiled, monkeypatch):
    given = {}

    def compile_model(path, device, settings):
        given.update(settings, device=device)
        onnx = runtimes.OnnxNetwork(Path(path))
        return lambda inputs: {"scores": onnx(*map(torch.from_numpy, inputs))[0].numpy()}

    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(compile_model=compile_model))
    row = compare_runtimes(network, EXAMPLE, [2], rounds=1)[3]
    assert row.ms > 0
    assert given["INFERENCE_PRECISION_HINT"] == "f32"
    assert (given["INFERENCE_NUM_THREADS"], given["device"]) == (torch.get_num_threads(), "CPU")


def test_an_error_of_a_runtime_is_one_line(network, none_compiled, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such instruction\nmore")

    monkeypatch.setattr(runtimes, "OnnxNetwork", fail)
    assert compare_runtimes(network, EXAMPLE, [1])[2].reason == "it failed: no such instruction"


def test_batches_are_checked_first(network):
    with pytest.raises(TrimError, match="a batch has 1 example or more, not 0"):
        compare_runtimes(network, EXAMPLE, [4, 0])


# --- torch.compile ---


def test_compiling_has_a_time_limit(network, monkeypatch):
    monkeypatch.setattr(compilation, "SECONDS", 0.01)
    with pytest.raises(TrimError, match="compiling took longer than 0 seconds and was stopped"):
        compilation.compiled(network.eval(), [(EXAMPLE.repeat(2, 1, 1),)])


def test_a_missing_compiler_is_a_reason_in_one_line(network, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # nothing is compiled already
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    with pytest.raises(TrimError, match="it cannot be compiled: .*[Cc]ompiler") as error:
        compilation.compiled(network.eval(), [(EXAMPLE.repeat(2, 1, 1),)])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_compiled_network_computes_the_same(network, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    two = EXAMPLE.repeat(2, 1, 1)
    try:
        compiled = compilation.compiled(network.eval(), [(two,), (EXAMPLE,)])
    except TrimError as error:
        pytest.skip(str(error))  # no C++ compiler here
    with torch.inference_mode():
        for x in (two, EXAMPLE):
            torch.testing.assert_close(compiled(x), network(x), rtol=1e-5, atol=1e-5)
