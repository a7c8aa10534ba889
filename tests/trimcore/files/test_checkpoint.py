"""Checkpoints survive a round trip, and any other file is refused in one line."""

import copy
import io
import json
import os
import pickle
import random
import re
import zipfile

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.trimcore.nets import NETS, Net, conv
from tests.trimcore.oracle import images, random_plan, randomised
from trimcore import models
from trimcore.errors import CheckpointError
from trimcore.files import checkpoint
from trimcore.files.checkpoint import (
    Checkpoint,
    find_weights,
    load,
    load_weights,
    read,
    save,
    save_safetensors,
    widths_of,
)
from trimcore.graph.tracing import trace
from trimcore.surgery.cut import prune

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

LENET = {"num_classes": 10, "in_channels": 1, "image_size": 28}
SMALL = {"num_classes": 10, "in_channels": 3, "image_size": 8}
COLOUR = {"num_classes": 10, "in_channels": 3, "image_size": 64}


def grouped() -> nn.Module:
    """Two frozen convolutions, one grouped and one with a group per image channel, and a trimmable one."""
    return Net(
        lambda m, x: m.d(torch.relu(m.c(torch.relu(m.b(m.a(x)))))),
        a=conv(3, 6, groups=3), b=conv(6, 4, groups=2), c=conv(4, 5), d=conv(5, 2),
    )  # fmt: skip


def stamped() -> nn.Module:
    """A network with a non-persistent buffer."""
    net = NETS["functional"]()
    net.register_buffer("scale", torch.tensor(2.0), persistent=False)
    return Net(lambda m, x: m.net(x) * m.net.scale, net=net)


OTHERS = {
    **NETS,
    "grouped": grouped,
    "stamped": stamped,
    "resnet18": lambda: torchvision.models.resnet18(num_classes=10),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=10),
}


@pytest.fixture
def registered(monkeypatch):
    for name, make in OTHERS.items():
        entry = models.Architecture(name, "", lambda num_classes, in_channels, image_size, make=make: make(), 3, 8)
        monkeypatch.setitem(models.REGISTRY, name, entry)


def trimmed(name: str, arguments: dict, ratio: float = 0.6) -> tuple[Checkpoint, nn.Module]:
    torch.manual_seed(0)
    model = randomised(models.build(name, **arguments)).float()
    x = models.example_input(arguments)
    graph = trace(model, x)
    small = prune(model, random_plan(graph, ratio, 1), graph=graph)
    return Checkpoint(name, arguments, widths_of(small), small.state_dict()), small


CASES = [
    ("lenet5", LENET), ("lenet5", {"num_classes": 3, "in_channels": 3, "image_size": 33}),
    ("vgg16-small", {"num_classes": 7, "in_channels": 1, "image_size": 28}), ("resnet18", COLOUR),
    ("mobilenet_v2", COLOUR), ("grouped", SMALL), ("stamped", SMALL), *((name, SMALL) for name in NETS),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_a_checkpoint_survives_a_round_trip(registered, tmp_path, name, arguments):
    made, small = trimmed(name, arguments)
    name_of_first, width = next(iter(made.widths.items()))
    made.origins, made.base, made.iteration = (
        {name_of_first: list(range(1, 2 * width, 2))}, {"parameters": 9, "macs": 8}, 3,
    )  # fmt: skip
    save(made, tmp_path / "a.pt")
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    assert content["widths"] == made.widths == widths_of(small)
    assert os.listdir(tmp_path) == ["a.pt"]
    save_safetensors(made, tmp_path / "a.safetensors")
    for file in ("a.pt", "a.safetensors"):
        found = load(tmp_path / file)
        for entry in set(vars(made)) - {"state"}:
            assert getattr(found, entry) == getattr(made, entry), entry
        assert_same(found.build(), small, arguments)
        assert_same(load_weights(tmp_path / file, name, arguments).build(), small, arguments)


def assert_same(one: nn.Module, two: nn.Module, arguments: dict) -> None:
    x = images(2, arguments["in_channels"], arguments["image_size"], arguments["image_size"], dtype=torch.float32)
    assert one.training
    assert all(p.is_leaf and p.requires_grad and not p.is_meta for p in one.parameters())
    with torch.no_grad():
        assert torch.equal(one.eval()(x), two.eval()(x))
    assert [repr(m) for m in one.children()] == [repr(m) for m in two.children()]


@pytest.mark.parametrize("ending", ["pt", "wrapped.pt", "safetensors"])
@pytest.mark.parametrize(("name", "arguments"), CASES[:3])
def test_widths_are_inferred_from_plain_weights(tmp_path, name, arguments, ending):
    _, small = trimmed(name, arguments)
    path = tmp_path / f"weights.{ending}"
    state = {key: value.contiguous() for key, value in small.state_dict().items()}
    if ending == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state} if "wrapped" in ending else state, path)
    found = load_weights(path, name, arguments)
    assert found.widths == widths_of(small)
    assert_same(found.build(), small, arguments)


@pytest.mark.parametrize("k", [3, 2, 1])
@pytest.mark.parametrize("name", ["lenet5-maxout", "vgg16-small-maxout"])
def test_units_of_maxout_networks_are_restored(tmp_path, name, k):
    """A trimcore file stores them; for a plain state dict they follow from the shapes before and after the maximum."""
    arguments = {**LENET, "k": 4, "width": 24}
    torch.manual_seed(0)
    model = randomised(models.build(name, **arguments)).float()
    graph = trace(model, models.example_input(arguments))
    going = [u * 4 + i for u in range(6) for i in range(4 - k)]
    small = prune(model, dict.fromkeys(graph.units, going), graph=graph, within=graph.units)
    small = prune(small, {next(iter(graph.units)): range(k)}, models.example_input(arguments))  # and one whole unit
    made = Checkpoint(name, arguments, widths_of(small), small.state_dict(), units=dict.fromkeys(graph.units, k))
    save(made, tmp_path / "a.pt")
    save_safetensors(made, tmp_path / "a.safetensors")
    torch.save(small.state_dict(), tmp_path / "plain.pt")
    assert_same(load(tmp_path / "a.safetensors").build(), small, arguments)
    for file in ("a.pt", "plain.pt"):
        found = load_weights(tmp_path / file, name, arguments)
        assert found.units == made.units
        assert_same(found.build(), small, arguments)


def test_vgg16_is_rebuilt_at_its_widths(tmp_path):
    arguments = {"num_classes": 5, "in_channels": 3, "image_size": 224}
    full = models.empty("vgg16", **arguments)
    graph = trace(full, torch.zeros(1, 3, 224, 224))
    plan = {name: range(2, graph.layers[name].width) for name in graph.trimmable()}
    small = prune(full, plan, graph=graph).to_empty(device="cpu")
    with torch.no_grad():
        for i, p in enumerate(small.parameters()):
            p.copy_(images(*p.shape, seed=i))
    save(Checkpoint("vgg16", arguments, widths_of(small), small.state_dict()), tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 100_000
    assert_same(load(tmp_path / "a.pt").build(), small, arguments)


def test_the_network_does_not_share_memory_with_the_checkpoint():
    made, _ = trimmed("lenet5", LENET)
    before = copy.deepcopy(made.state)
    with torch.no_grad():
        for p in made.build().parameters():
            p.zero_()
    assert all(torch.equal(value, made.state[key]) for key, value in before.items())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    made, _ = trimmed("lenet5", LENET)
    save(made, tmp_path / "a.pt")
    before = (tmp_path / "a.pt").read_bytes()
    made.base = {"broken": lambda: None}
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save(made, tmp_path / "a.pt")
    assert os.listdir(tmp_path) == ["a.pt"]
    assert (tmp_path / "a.pt").read_bytes() == before


# --- weights that do not fit


def changed(**entries) -> dict:
    """A valid state dict with some entries replaced, or removed if None."""
    state = dict(trimmed("lenet5", LENET)[0].state)
    for key, value in entries.items():
        state.pop(key.replace("__", "."), None)
        if value is not None:
            state[key.replace("__", ".")] = value
    return state


WRONG_STATES = {
    "missing": (lambda: changed(conv2__bias=None), "does not fit lenet5: 1 missing (first: 'conv2.bias' is missing)"),
    "extra": (lambda: changed(conv3__bias=torch.zeros(3)), "fit lenet5: 1 extra (first: 'conv3.bias' is extra)"),
    "another": (lambda: trimmed("vgg16-small", CASES[2][1])[0].state, "another architecture"),
    "kernel": (
        lambda: changed(conv1__weight=torch.zeros(8, 1, 3, 3)),
        "'conv1.weight' is 8 × 1 × 3 × 3, float32 in the file, 20 × 1 × 5 × 5, float32 in the model",
    ),
    "axes": (lambda: changed(fc1__bias=torch.zeros(200, 1)), "'fc1.bias' is 200 × 1, float32"),
    "too wide": (lambda: changed(conv1__weight=torch.zeros(21, 1, 5, 5)), "'conv1.weight' is 21 × 1 × 5 × 5, float32"),
    "empty": (lambda: changed(conv1__weight=torch.zeros(0, 1, 5, 5)), "'conv1.weight' is 0 × 1 × 5 × 5, float32"),
    "bias": (lambda: changed(conv1__bias=torch.zeros(5)), "do not fit together"),
    "next layer": (lambda: changed(conv2__weight=torch.zeros(21, 8, 5, 5)), "the weights do not fit together: "),
    "flattened": (lambda: changed(fc1__weight=torch.zeros(201, 335)), "the weights do not fit together: "),
    "fewer classes": (
        lambda: changed(fc2__weight=torch.zeros(4, 201), fc2__bias=torch.zeros(4)),
        "2 of another shape (first: 'fc2.weight' is 4 × 201, float32 in the file, 10 × 500, float32 in the model); "
        "the last layer has 4 outputs, but the data have 10 classes",
    ),
    "whole numbers": (
        lambda: changed(fc2__bias=torch.zeros(10, dtype=torch.int64)),
        "1 of another dtype (first: 'fc2.bias' is 10, int64",
    ),
    "no values": (lambda: changed(fc2__bias=torch.zeros(10, device="meta")), "does not contain tensors by name"),
    "sparse": (lambda: changed(fc2__bias=torch.zeros(10).to_sparse()), "does not contain tensors by name"),
    "no tensor": (lambda: changed(fc2__bias=[0.0] * 10), "does not contain tensors by name"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), WRONG_STATES.values(), ids=WRONG_STATES)
@pytest.mark.parametrize("plain", [True, False])
def test_weights_that_do_not_fit_are_refused(tmp_path, make, message, plain):
    state = make()
    made = trimmed("lenet5", LENET)[0]
    made.state = state
    torch.save(state if plain else {"format": 1, **vars(made)}, tmp_path / "a.pt")
    assert message in refusal(lambda: load_weights(tmp_path / "a.pt", "lenet5", LENET))


def refusal(action) -> str:
    with pytest.raises(CheckpointError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


WRONG_ENTRIES = {
    "format": (9, "not a trimcore checkpoint (format 9, not 1)"),
    "model": ("resnet", "is a checkpoint of 'resnet', not 'lenet5'"),
    "widths": ({"conv1": 3}, "the widths in the checkpoint do not match its weights"),
    "arguments": ({"num_classes": 10, "in_channels": 1}, "arguments"),
    "origins": ([1], "'origins' of type list, not dict"),
    "origins that are too few": ({"conv1": [0]}, "origins for 'conv1'"),
    "origins twice": ({"conv9": [0, 0]}, "origins for 'conv9'"),
    "origins below 0": ({"conv9": [-1]}, "origins for 'conv9'"),
    "origins that are not a list": ({"conv9": "0"}, "origins for 'conv9'"),
    "base": ({"parameters": 0, "macs": 1}, "parameters and MACs of its base model"),
    "base without macs": ({"parameters": 1}, "parameters and MACs of its base model"),
    "iteration": ("two", "'iteration' of type str, not int"),
    "iteration below 0": (-1, "iteration -1"),
    "epochs": (True, "'epochs' of type bool, not int"),
    "arguments of any size": ({**LENET, "image_size": 10**9}, "has arguments"),
    "state": ("weights", "'state' of type str, not dict"),
    "surplus": (1, "missing or unknown entry"),
    "units": ({"fc1": 0}, "maxout units {'fc1': 0}"),
    "units that are not a dict": ("4", "'units' of type str, not dict"),
    "units of a layer": ({"conv1": 2}, "'conv1' is not a maxout layer"),
    "sparse": ({}, "'sparse'"),
    "sparse layers": ([1], "sparse layers [1]"),
}


@pytest.mark.parametrize(("key", "value", "message"), [(k, *v) for k, v in WRONG_ENTRIES.items()])
def test_invalid_entries_are_refused(tmp_path, key, value, message):
    made, _ = trimmed("lenet5", LENET)
    key = key.split(" ")[0]
    content = {"format": 1, **vars(made), key: value}
    torch.save(content, tmp_path / "a.pt")
    assert message in refusal(lambda: load_weights(tmp_path / "a.pt", "lenet5", LENET))
    if key != "state":
        metadata = {name: json.dumps(entry) for name, entry in content.items() if name != "state"}
        save_file(made.state, tmp_path / "a.safetensors", metadata)
        assert message in refusal(lambda: load_weights(tmp_path / "a.safetensors", "lenet5", LENET))
    del content[key]
    torch.save(content, tmp_path / "b.pt")
    if key in ("model", "arguments", "widths", "state"):
        refusal(lambda: load(tmp_path / "b.pt"))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "1" * 5000, "pt"])
def test_metadata_that_is_not_json_is_refused(tmp_path, text):
    made, _ = trimmed("lenet5", LENET)
    save_file(made.state, tmp_path / "a.safetensors", {"format": "1", "model": '"lenet5"', "widths": text})
    assert "the metadata of" in refusal(lambda: load(tmp_path / "a.safetensors"))


def test_metadata_of_other_tools_is_ignored(tmp_path):
    made, small = trimmed("lenet5", LENET)
    save_file(made.state, tmp_path / "a.safetensors", {"format": "pt", "model": "resnet", "note": "{"})
    assert_same(load_weights(tmp_path / "a.safetensors", "lenet5", LENET).build(), small, LENET)


def test_the_error_lists_the_mismatches(tmp_path):
    save_file(changed(conv2__bias=None, conv1__bias=torch.zeros(21), conv3__bias=torch.ones(2)), tmp_path / "a")
    with pytest.raises(CheckpointError) as error:
        load_weights(tmp_path / "a", "lenet5", LENET)
    assert [(m.name, m.problem) for m in error.value.mismatches] == [
        ("conv1.bias", "shape"), ("conv2.bias", "missing"), ("conv3.bias", "extra"),
    ]  # fmt: skip


WRAPPINGS = {
    "DataParallel": (lambda state: with_prefix(state, "module."), ["without the prefix 'module.'"]),
    "compiled": (lambda state: with_prefix(state, "_orig_mod."), ["without the prefix '_orig_mod.'"]),
    "both": (
        lambda state: with_prefix(state, "module._orig_mod."),
        ["without the prefix '_orig_mod.'", "without the prefix 'module.'"],
    ),
    "training script": (
        lambda state: {"epoch": 3, "model_state_dict": with_prefix(state, "model."), "optimizer": {"state": {}}},
        ["taken from its entry 'model_state_dict'", "without the prefix 'model.'"],
    ),
    "entry in an entry": (
        lambda state: {"model": {"state_dict": state}},
        ["taken from its entry 'model'", "taken from its entry 'state_dict'"],
    ),
    "nothing": (lambda state: state, []),
}


def with_prefix(state: dict, prefix: str) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(("wrap", "words"), WRAPPINGS.values(), ids=WRAPPINGS)
def test_weights_are_found_inside_training_checkpoints(tmp_path, wrap, words):
    made, small = trimmed("lenet5", LENET)
    torch.save(wrap(made.state), tmp_path / "a.pt")
    found, done = find_weights(tmp_path / "a.pt", "lenet5", LENET)
    assert done == words
    assert_same(found.build(), small, LENET)


def test_an_entry_that_contains_itself_is_refused(tmp_path):
    endless = {"a": torch.zeros(1)}
    endless["model"] = endless
    torch.save(endless, tmp_path / "a.pt")
    assert "does not contain tensors by name" in refusal(lambda: load_weights(tmp_path / "a.pt", "lenet5", LENET))


# --- files that are not checkpoints


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
@pytest.mark.parametrize("wrap", [lambda bomb: bomb, lambda bomb: {"state": {}, "format": bomb}])
def test_a_pickled_object_is_refused_and_not_run(tmp_path, write, wrap):
    write(wrap(Bomb(tmp_path / "ran")), tmp_path / "a.pt")
    message = refusal(lambda: read(tmp_path / "a.pt"))
    assert "a.pt' contains Python objects" in message
    assert "save model.state_dict() instead" in message
    assert not (tmp_path / "ran").exists()


def test_a_pickled_network_is_refused(tmp_path):
    torch.save(models.build("lenet5"), tmp_path / "a.pt")
    assert re.search(r"contains Python objects \([\w.]+\.LeNet5\)", refusal(lambda: load(tmp_path / "a.pt")))


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("a.txt", "text")
    return content.getvalue()


JUNK = {"empty": b"", "text": b"some text\nand more", "zip": zipped(), "pickle": pickle.dumps([1]), "start": b"\x80"}


@pytest.mark.parametrize("content", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_other_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert name in refusal(lambda: load_weights(tmp_path / name, "lenet5", LENET))


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_missing_files_and_folders_are_refused(tmp_path, name):
    assert name in refusal(lambda: load_weights(tmp_path / name, "lenet5", LENET))
    (tmp_path / name).mkdir()
    assert name in refusal(lambda: load_weights(tmp_path / name, "lenet5", LENET))


def test_a_bare_tensor_is_refused(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "a.pt")
    assert "contains a Tensor, not weights by name" in refusal(lambda: load(tmp_path / "a.pt"))


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_damaged_files_are_refused(tmp_path, name):
    """A truncated file is refused. A file with a changed byte is refused, or has weights of the right shapes."""
    made, _ = trimmed("lenet5", LENET, 1)
    path, choice = tmp_path / name, random.Random(0)
    save_file(made.state, path) if "safe" in name else save(made, path)
    content = path.read_bytes()
    for _ in range(40):
        path.write_bytes(content[: choice.randrange(len(content))])
        refusal(lambda: load_weights(path, "lenet5", LENET))
    for _ in range(150):
        place = choice.randrange(1500)
        path.write_bytes(content[:place] + bytes([choice.randrange(256)]) + content[place + 1 :])
        try:
            found = load_weights(path, "lenet5", LENET)
        except CheckpointError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert found.build()(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


def test_the_temporary_file_is_hidden_and_removed(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "replace", lambda source, target: seen.append(os.path.basename(source)))
    checkpoint.save_atomic({"a": Tensor([1])}, tmp_path / "a.pt")
    assert seen == [f".a.pt.{os.getpid()}"]
    assert os.listdir(tmp_path) == []
