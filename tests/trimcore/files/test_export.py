"""Exports: each file is read back and must compute what the network computes."""

import json
import os
import sys

import pytest
import torch
from safetensors import safe_open

from tests.trimcore.oracle import random_plan, randomised
from trimcore import models
from trimcore.cli.main import cli
from trimcore.errors import TrimError
from trimcore.files import export as export_module
from trimcore.files.checkpoint import Checkpoint, load, widths_of
from trimcore.files.export import FORMATS, INT8, describe_difference, export
from trimcore.graph.tracing import trace
from trimcore.surgery.cut import prune

EXACT = [format for format in FORMATS if format != INT8]
IMAGES = [torch.zeros(1, 1, 28, 28)]  # to calibrate on, for the format that needs them


def trimmed(name: str = "lenet5", size: int = 28) -> Checkpoint:
    torch.manual_seed(0)
    arguments = {"num_classes": 10, "in_channels": 1, "image_size": size}
    model = randomised(models.build(name, **arguments)).float()
    graph = trace(model, models.example_input(arguments))
    small = prune(model, random_plan(graph, 0.9, 0), graph=graph)
    return Checkpoint(name, arguments, widths_of(small), small.state_dict())


def read(path, format: str):
    """Load the file as a user would."""
    if format in ("state_dict", "safetensors", "sparse"):
        return load(path).build().eval()
    if format == "pt2":
        return torch.export.load(path).module()
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, made.name) == ("images", "scores")
    return lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["lenet5", "vgg16-small"])
@pytest.mark.parametrize("format", EXACT)
def test_an_exported_file_computes_what_the_network_computes(tmp_path, format, name):
    if format == "onnx":
        pytest.importorskip("onnxscript")
    made, out = trimmed(name), tmp_path / "new" / f"small.{format}"
    difference = export(made, format, out)
    assert difference < 1e-4
    assert os.listdir(out.parent) == [out.name]
    network, again = made.build().eval(), read(out, format)
    for count in (1, 5):
        x = torch.randn(count, 1, 28, 28)
        with torch.no_grad():
            torch.testing.assert_close(again(x), network(x), rtol=1e-4, atol=1e-4)


def test_unknown_formats_are_refused(tmp_path):
    known = "state_dict, safetensors, sparse, pt2, onnx, onnx-int8"
    with pytest.raises(TrimError, match=f"unknown format 'zip'; expected one of {known}"):
        export(trimmed(), "zip", tmp_path / "a")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("format", FORMATS)
def test_the_error_names_an_unwritable_path_and_no_file_is_left(tmp_path, format):
    if format.startswith("onnx"):
        pytest.importorskip("onnxscript")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TrimError, match=f"cannot write '{tmp_path}/file/a.pt': "):
        export(trimmed(), format, tmp_path / "file" / "a.pt", IMAGES)
    with pytest.raises(TrimError, match="cannot write .*: File name too long"):
        export(trimmed(), format, tmp_path / ("a" * 300), IMAGES)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("format", ["state_dict", "safetensors", "sparse", "pt2"])
def test_a_folder_at_the_target_path_is_left_alone(tmp_path, format):
    (tmp_path / "a.pt2" / "mine").mkdir(parents=True)
    with pytest.raises(TrimError, match="cannot write"):
        export(trimmed(), format, tmp_path / "a.pt2")
    assert os.listdir(tmp_path) == ["a.pt2"]


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    (tmp_path / "a.pt").write_text("the old one")
    made = trimmed()
    network = made.build().eval()
    for wrong, message in (
        (lambda x: torch.zeros(len(x), 10), "computes something else"),
        (lambda x: torch.full((len(x), 10), torch.nan), "computes something else"),
        (lambda x: network(x) if len(x) == 2 else network(x) + 1, "computes something else"),
        (lambda x: network(x[:2]), r"returns \(2, 10\), not \(5, 10\)"),
    ):
        monkeypatch.setattr(export_module, "_state_dict", lambda *_, wrong=wrong: wrong)
        with pytest.raises(TrimError, match=f"the state_dict file {message}.* nothing was written"):
            export(made, "state_dict", tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_text() == "the old one"
    assert os.listdir(tmp_path) == ["a.pt"]


def test_the_error_names_a_missing_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(TrimError, match="ONNX needs the package onnxruntime: pip install onnxscript onnxruntime"):
        export(trimmed(), "onnx", tmp_path / "a.onnx")
    assert os.listdir(tmp_path) == []


def test_the_largest_difference_of_all_batches_is_reported(tmp_path, monkeypatch):
    """One score is off by 2**-18 in the first batch, and by 2**-16 in the second."""
    made = trimmed()
    network = made.build().eval()

    def nearly(x):
        scores = network(x)
        scores[-1, 3] += 2**-18 if len(x) == 2 else -(2**-16)
        return scores

    def write(made, network, example, path):
        path.write_bytes(b"")
        return nearly

    monkeypatch.setattr(export_module, "_state_dict", write)
    assert export(made, "state_dict", tmp_path / "a.pt") == pytest.approx(2**-16, rel=0.1)


def test_safetensors_files_are_standard_and_describe_the_network(tmp_path):
    made = trimmed()
    made.origins, made.iteration = {"conv1": list(range(made.widths["conv1"]))}, 4
    export(made, "safetensors", tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        metadata = {key: json.loads(text) for key, text in file.metadata().items()}
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (not a dict)
    assert metadata["format"] == 1
    for key in ("model", "arguments", "widths", "origins", "iteration"):
        assert metadata[key] == getattr(made, key)
    assert shapes == {name: list(tensor.shape) for name, tensor in made.state.items()}


def test_channels_last_and_shared_weights_are_written_correctly(tmp_path):
    made = trimmed()
    wanted = {name: tensor.clone() for name, tensor in made.state.items()}
    made.state["conv2.weight"] = made.state["conv2.weight"].to(memory_format=torch.channels_last)
    assert not made.state["conv2.weight"].is_contiguous()
    both = torch.cat([made.state["conv1.bias"], made.state["conv2.bias"]])
    made.state["conv1.bias"], made.state["conv2.bias"] = both.split([made.widths["conv1"], made.widths["conv2"]])
    export(made, "safetensors", tmp_path / "a.safetensors")
    found = load(tmp_path / "a.safetensors").state
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_differences_are_described():
    assert describe_difference(0.0) == "computes exactly what the network in memory does"
    assert describe_difference(2.4e-7) == "differs from the network in memory by at most 2e-07"


def test_the_command_line_offers_every_format():
    option = next(p for p in cli.commands["export"].params if p.name == "format_")
    assert list(option.type.choices) == list(FORMATS)
