"""Weights as training scripts leave them: averages, old BatchNorm, plain objects beside the weights, and new heads."""

import argparse
import collections
import pathlib
import pickle
import types

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from tests.trimcore.files.test_checkpoint import LENET, refusal, trimmed
from trimcore import models, spec
from trimcore.errors import SpecError
from trimcore.files.checkpoint import find_weights, load, load_weights, save
from trimcore.files.head import head_names
from trimcore.files.sandbox import check_weights
from trimcore.files.wrapping import unwrapped
from trimcore.training.loop import trim

RESNET = {"num_classes": 10, "in_channels": 3, "image_size": 32}


def stored(tmp_path, content) -> str:
    torch.save(content, tmp_path / "a.pt")
    return str(tmp_path / "a.pt")


# ---- averages


def test_weights_come_before_their_average():
    own, average = {"a": 1}, {"module.a": 2, "n_averaged": 5}
    assert unwrapped({"model": own, "model_ema": average}, {"a"}) == (
        own, ["taken from its entry 'model'", "not from its entry 'model_ema', an average of the weights"],
    )  # fmt: skip
    assert unwrapped({"model_ema": average}, {"a"}) == (
        {"a": 2}, ["taken from its entry 'model_ema', an average of the weights", "without the prefix 'module.'"],
    )  # fmt: skip
    assert unwrapped({"ema": {"state_dict": own}, "epoch": 3}, {"a"})[0] == own
    assert unwrapped(average, {"a"}) == ({"a": 2}, ["without the prefix 'module.'"])
    counted = {"n_averaged": 5, "a": 1}
    assert unwrapped(counted, {"n_averaged", "a"}) == (counted, []), "a network may have a tensor of that name"


def test_the_average_of_pytorch_is_read(tmp_path):
    network = models.build("lenet5")
    average = torch.optim.swa_utils.AveragedModel(network)
    found, notes = find_weights(stored(tmp_path, average.state_dict()), "lenet5", LENET)
    assert torch.equal(found.state["fc1.weight"], network.state_dict()["fc1.weight"])
    assert notes == ["without the prefix 'module.'"]


# ---- BatchNorm from before it counted


def test_missing_counters_of_batchnorm_are_zero(tmp_path):
    whole = torchvision.models.resnet18(num_classes=10).state_dict()
    old = {f"module.{name}": tensor for name, tensor in whole.items() if "num_batches" not in name}
    found, notes = find_weights(stored(tmp_path, old), "resnet18", RESNET)
    assert notes == ["without the prefix 'module.'", "with num_batches_tracked set to 0"]
    assert found.state.keys() == whole.keys()
    assert found.state["bn1.num_batches_tracked"] == 0
    assert torch.equal(found.build().bn1.running_var, whole["bn1.running_var"])


def test_only_counters_are_filled_in(tmp_path):
    whole = torchvision.models.resnet18(num_classes=10).state_dict()
    lost = {name: tensor for name, tensor in whole.items() if not name.startswith("bn1.")}
    assert "5 missing (first: 'bn1.weight' is missing)" in refusal(
        lambda: load_weights(stored(tmp_path, lost), "resnet18", RESNET)
    )


# ---- objects beside the weights


PLAIN = {
    "arguments": argparse.Namespace(lr=0.1, data=pathlib.Path("/data"), nested=argparse.Namespace(betas=(0.9, 0.99))),
    "numbers of numpy": {"best": np.float64(0.5), "epoch": np.int64(3), "done": np.bool_(True), "half": np.float16(1)},
    "paths": [pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("b"), pathlib.Path("c")],
    "counters": [collections.Counter("ab"), collections.OrderedDict(a=1)],
}  # fmt: skip


@pytest.mark.parametrize("beside", PLAIN.values(), ids=PLAIN)
def test_plain_objects_beside_the_weights_are_read(tmp_path, beside):
    own = models.build("lenet5").state_dict()
    found = load_weights(stored(tmp_path, {"model": own, "args": beside}), "lenet5", LENET)
    assert torch.equal(found.state["fc1.weight"], own["fc1.weight"])


class Marked:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


class Arguments(argparse.Namespace):
    pass


REFUSED = {
    "a class of one's own": types.SimpleNamespace(a=1), "a subclass": Arguments(a=1),
    "a function in the arguments": argparse.Namespace(type=print), "an array": np.zeros(3),
    "numbers that are objects": np.array([print], dtype=object),
}  # fmt: skip


@pytest.mark.parametrize("beside", REFUSED.values(), ids=REFUSED)
def test_other_objects_are_refused(tmp_path, beside):
    content = {"model": models.build("lenet5").state_dict(), "args": beside}
    assert "contains Python objects" in refusal(lambda: load_weights(stored(tmp_path, content), "lenet5", LENET))


def test_arguments_cannot_carry_code(tmp_path):
    content = {"model": models.build("lenet5").state_dict(), "args": argparse.Namespace(a=Marked(tmp_path / "marker"))}
    refusal(lambda: load_weights(stored(tmp_path, content), "lenet5", LENET))
    assert not (tmp_path / "marker").exists()


def test_reading_a_file_leaves_pytorch_as_strict_as_it_was(tmp_path):
    path = stored(tmp_path, {"model": models.build("lenet5").state_dict(), "args": argparse.Namespace(a=1)})
    load_weights(path, "lenet5", LENET)
    with pytest.raises(pickle.UnpicklingError, match="Namespace"):
        torch.load(path, weights_only=True)


# ---- heads


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("lenet5", ["fc2.weight", "fc2.bias"]), ("resnet18", ["fc.weight", "fc.bias"]),
        ("lenet5-maxout", ["fc2.weight", "fc2.bias"]), ("squeezenet1_0", ["classifier.1.weight", "classifier.1.bias"]),
        ("vit_b_32", ["heads.head.weight", "heads.head.bias"]),
    ],
)  # fmt: skip
def test_the_head_is_what_depends_on_the_classes(model, names):
    entry = models.architecture(model)
    assert head_names(model, entry.arguments_for(10, 3, 224)) == names


@pytest.mark.parametrize("lacking", [False, True])
def test_all_but_the_head_are_taken(tmp_path, lacking):
    other = torchvision.models.resnet18(num_classes=1000).state_dict()
    if lacking:
        other = {name: tensor for name, tensor in other.items() if not name.startswith("fc.")}
    path = stored(tmp_path, {"state_dict": other})
    assert refusal(lambda: load_weights(path, "resnet18", RESNET)).endswith(
        '; head = "new" under [base] takes all weights but those of the head, and trains a new one'
    )
    found, notes = find_weights(path, "resnet18", RESNET, new_head=True)
    assert notes == ["taken from its entry 'state_dict'", "with new weights in 'fc.weight', 'fc.bias'"]
    assert check_weights(tmp_path / "a.pt", "resnet18", RESNET, new_head=True) == notes
    state = found.build().state_dict()
    for name, tensor in state.items():
        if not name.startswith("fc."):
            assert torch.equal(tensor, other[name]), name
    assert state["fc.weight"].shape == (10, 512)
    assert 0.005 < state["fc.weight"].std() < 0.02
    assert not state["fc.bias"].any()
    again = load_weights(path, "resnet18", RESNET, new_head=True)
    assert torch.equal(again.state["fc.weight"], state["fc.weight"]), "the same in every run"


@pytest.mark.parametrize("kind", ["checkpoint", "state dict", "safetensors"])
def test_a_trimmed_network_gets_a_head_for_other_classes(tmp_path, kind):
    made, small = trimmed("lenet5", LENET)
    path, wanted = tmp_path / "a.pt", {**LENET, "num_classes": 7}
    made.base = {"parameters": 431_080, "macs": 2_293_000}
    made.origins = {"fc1": list(range(made.widths["fc1"])), "fc2": list(range(10))}
    if kind == "safetensors":
        save_file(made.state, path)
    else:
        save(made, path) if kind == "checkpoint" else torch.save(made.state, path)
    assert 'head = "new" under [base]' in refusal(lambda: load_weights(path, "lenet5", wanted))
    found = load_weights(path, "lenet5", wanted, new_head=True)
    save(found, tmp_path / "b.pt")
    network = load(tmp_path / "b.pt").build()
    assert network.fc2.weight.shape == (7, small.fc2.in_features)
    assert torch.equal(network.fc1.weight, small.fc1.weight)
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
    if kind == "checkpoint":
        assert found.base["parameters"] == sum(p.numel() for p in models.build("lenet5", num_classes=7).parameters())
        assert found.origins == {"fc1": made.origins["fc1"]}


def test_a_head_cannot_hide_what_else_does_not_fit(tmp_path):
    other = torchvision.models.resnet34(num_classes=10).state_dict()
    assert "does not fit resnet18" in refusal(
        lambda: load_weights(stored(tmp_path, other), "resnet18", RESNET, new_head=True)
    )


def test_a_new_head_is_trained(tmp_path, make_spec):
    torch.save(models.build("lenet5", num_classes=9, in_channels=3, image_size=16).state_dict(), tmp_path / "a.pt")
    asked = make_spec(base={"weights": str(tmp_path / "a.pt"), "head": "new"}, step=[])
    events = [event for event in trim(asked) if event.recorded]
    assert [event.data["phase"] for event in events if event.kind == "epoch"] == ["base", "base"]
    assert "weights: with new weights in 'fc2.weight', 'fc2.bias'" in [
        event.data["text"] for event in events if event.kind == "note"
    ]
    assert asked.base_epochs == 2
    assert make_spec(base={"weights": "a.pt"}).base_epochs == 0


@pytest.mark.parametrize("weights", ["", "pretrained"])
def test_a_new_head_needs_a_file(weights):
    with pytest.raises(SpecError, match='head = "new" needs a checkpoint file'):
        spec.parse({"base": {"weights": weights, "head": "new"}})
