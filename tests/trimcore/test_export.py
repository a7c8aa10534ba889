"""Files taken out of a run: each is read back and must compute what the network computes."""

import os
import sys

import pytest
import torch

from tests.trimcore.oracle import random_plan, randomised
from trimcore import export as export_module
from trimcore import models
from trimcore.checkpoint import Checkpoint, load, widths_of
from trimcore.errors import TrimError
from trimcore.export import FORMATS, export
from trimcore.surgery import prune
from trimcore.tracing import trace


def trimmed(name: str = "lenet5", size: int = 28) -> Checkpoint:
    torch.manual_seed(0)
    arguments = {"num_classes": 10, "in_channels": 1, "image_size": size}
    model = randomised(models.build(name, **arguments)).float()
    graph = trace(model, models.example_input(arguments))
    small = prune(model, random_plan(graph, 0.9, 0), graph=graph)
    return Checkpoint(name, arguments, widths_of(small), small.state_dict())


def read(path, format: str):
    """The file as its users read it."""
    if format == "state_dict":
        return load(path).build().eval()
    if format == "pt2":
        return torch.export.load(path).module()
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, made.name) == ("images", "scores")
    return lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["lenet5", "vgg16-small"])
@pytest.mark.parametrize("format", FORMATS)
def test_the_file_computes_what_the_network_computes(tmp_path, format, name):
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
    with pytest.raises(TrimError, match="unknown format 'zip'; there are state_dict, pt2, onnx"):
        export(trimmed(), "zip", tmp_path / "a")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_folder_that_cannot_be_written_is_named_and_nothing_stays(tmp_path, format):
    if format == "onnx":
        pytest.importorskip("onnxscript")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TrimError, match=f"cannot write '{tmp_path}/file/a.pt': "):
        export(trimmed(), format, tmp_path / "file" / "a.pt")
    with pytest.raises(TrimError, match="cannot write .*: File name too long"):
        export(trimmed(), format, tmp_path / ("a" * 300))
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("format", ["state_dict", "pt2"])
def test_a_folder_in_place_of_the_file_is_left_as_it_is(tmp_path, format):
    (tmp_path / "a.pt2" / "mine").mkdir(parents=True)
    with pytest.raises(TrimError, match="cannot write"):
        export(trimmed(), format, tmp_path / "a.pt2")
    assert os.listdir(tmp_path) == ["a.pt2"]


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    (tmp_path / "a.pt").write_text("the old one")
    for wrong in (lambda x: torch.zeros(2, 10), lambda x: torch.full((2, 10), torch.nan)):
        monkeypatch.setattr(export_module, "_state_dict", lambda *_, wrong=wrong: wrong)
        with pytest.raises(TrimError, match="the state_dict file computes something else .* nothing was written"):
            export(trimmed(), "state_dict", tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_text() == "the old one"
    assert os.listdir(tmp_path) == ["a.pt"]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(TrimError, match="ONNX needs the package onnxruntime: pip install onnxscript onnxruntime"):
        export(trimmed(), "onnx", tmp_path / "a.onnx")
    assert os.listdir(tmp_path) == []
