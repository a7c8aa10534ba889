"""The registry: architectures, their input sizes, and reinitialisation."""

import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from trimcore import models
from trimcore.errors import SpecError
from trimcore.graph.tracing import trace
from trimcore.models import architecture, build, check_name, empty, example_input, register, renew
from trimcore.models.lenet import LENET5
from trimcore.surgery.cut import prune


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


VGG_SMALL = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def test_networks_have_the_expected_number_of_parameters():
    assert parameters(build("lenet5")) == 431_080
    assert parameters(empty("vgg16", num_classes=1000)) == 138_357_544
    convolutions = sum(9 * a * b + 2 * b for a, b in zip([3, *VGG_SMALL], VGG_SMALL, strict=False))
    assert parameters(build("vgg16-small", in_channels=3)) == convolutions + 2 * (512 * 512 + 512) + 512 * 10 + 10


def test_trimmable_layers_have_the_papers_names():
    assert trace(build("lenet5"), torch.zeros(1, 1, 28, 28)).trimmable() == ["conv1", "conv2", "fc1"]
    blocks = [(1, 2), (2, 2), (3, 3), (4, 3), (5, 3)]
    names = [f"features.conv{block}_{i}" for block, count in blocks for i in range(1, count + 1)]
    graph = trace(build("vgg16-small"), torch.zeros(1, 1, 28, 28))
    assert graph.trimmable() == [*names, "classifier.fc6", "classifier.fc7"]
    assert [graph.layers[name].width for name in names] == VGG_SMALL


@pytest.mark.parametrize("name", ["lenet5", "vgg16-small"])
@pytest.mark.parametrize("arguments", [(3, 1, None), (10, 3, 33), (100, 2, 64), (1, 1, "least")])
def test_every_advertised_size_works(name, arguments):
    classes, channels, size = arguments
    size = architecture(name).min_size if size == "least" else size or 28
    model = build(name, classes, channels, size).eval()
    x = example_input({"in_channels": channels, "image_size": size}, batch=2)
    assert x.shape == (2, channels, size, size)
    assert model(x).shape == (2, classes)


@pytest.mark.parametrize("name", ["lenet5", "vgg16", "vgg16-small"])
def test_images_below_the_minimum_size_are_refused(name):
    entry = architecture(name)
    with pytest.raises(SpecError, match=f"{name} needs images of at least {entry.min_size} pixels, not"):
        build(name, image_size=entry.min_size - 1)
    graph = trace(empty(name, image_size=entry.min_size), torch.zeros(1, entry.channels or 1, *[entry.min_size] * 2))
    assert graph.trimmable()


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_lenet_fails_one_pixel_below_its_minimum_size():
    with pytest.raises(RuntimeError):
        LENET5.builder(10, 1, 15)(torch.zeros(1, 1, 15, 15))


def test_requirements_of_an_entry_are_the_defaults():
    assert build("lenet5").conv1.in_channels == 1
    assert empty("vgg16").features[0].in_channels == 3
    assert empty("vgg16").classifier[6].out_features == 10
    with pytest.raises(SpecError, match="vgg16 takes 3 channels, not 1"):
        empty("vgg16", in_channels=1)


@pytest.mark.parametrize(
    ("wants", "own", "asked", "size"),
    [
        ({}, 28, 0, 28), ({}, 28, 40, 40), ({"min_size": 32}, 28, 0, 32), ({"min_size": 32}, 64, 0, 64),
        ({"image_size": 224}, 28, 0, 224), ({"image_size": 224}, 28, 64, 64), ({"multiple": 16}, 28, 0, 32),
        ({"multiple": 14, "min_size": 40}, 28, 0, 42), ({"multiple": 7}, 28, 0, 28),
    ],
)  # fmt: skip
def test_images_are_resized_as_asked_or_preferred_or_large_enough(wants, own, asked, size):
    assert models.Architecture("net", "", nn.Identity, **wants).size_for(own, asked) == size


def test_channels_are_as_asked_or_required_or_from_the_data():
    free = models.Architecture("free", "", nn.Identity)
    fixed = models.Architecture("fixed", "", nn.Identity, channels=3)
    assert [free.channels_for(1), free.channels_for(1, 3), free.channels_for(3)] == [1, 3, 3]
    assert [fixed.channels_for(1), fixed.channels_for(1, 3)] == [3, 3]
    with pytest.raises(SpecError, match="fixed takes 3 channels, not 1"):
        fixed.channels_for(3, 1)


@pytest.mark.parametrize(
    ("asked", "named"), [("resnet51", "expected resnet50, resnet"), ("zzz", "expected lenet5, lenet5-maxout, vgg16")]
)
def test_an_unknown_name_is_refused_with_similar_ones(asked, named):
    for look in (build, check_name):
        with pytest.raises(SpecError, match=f"unknown model '{asked}'; {named}") as error:
            look(asked)
        assert len(str(error.value)) < 200  # not all eighty names


def test_the_library_lists_every_model_without_torchvision():
    code = "import sys; from trimcore.models import listed; print(len(listed()), 'torchvision' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["85", "False"]


# --- without memory ---


def test_an_empty_network_has_the_same_tensors_without_memory():
    for name in ("lenet5", "vgg16-small"):
        one, two = empty(name).state_dict(), build(name).state_dict()
        assert all(t.is_meta for t in one.values())
        assert {key: t.shape for key, t in one.items()} == {key: t.shape for key, t in two.items()}


@pytest.fixture
def registered(monkeypatch, registry):
    """registered(builder, **wants) -> the name to build it by in this test."""
    return lambda builder, **wants: register("made-here", "for a test", **wants)(builder) and "made-here"


class Peculiar(nn.Module):
    """What builders do besides stacking layers: shared weights, unsaved buffers, numbers computed with tensors."""

    def __init__(self, num_classes, in_channels, image_size):
        super().__init__()
        rates = [rate.item() for rate in torch.linspace(0, 0.5, 3)]
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.drop = nn.Dropout(rates[-1])
        self.scale = nn.Parameter(torch.full((8,), 0.5), requires_grad=False)
        self.register_buffer("saved", torch.arange(5.0))
        self.register_buffer("lost", torch.arange(6.0), persistent=False)
        self.attribute = torch.empty(3).fill_(2.0)


def test_an_empty_network_keeps_tensors_outside_the_state_dict(registered):
    network = empty(registered(Peculiar))
    assert all(tensor.is_meta for tensor in network.state_dict().values())
    assert network.second.weight is network.first.weight
    assert (network.drop.p, network.scale.requires_grad, type(network.scale)) == (0.5, False, nn.Parameter)
    assert network.lost.tolist() == [0, 1, 2, 3, 4, 5]
    assert network.attribute.tolist() == [2, 2, 2]


class RunsItself(nn.Module):
    """A builder that runs its layers to find the size of its features."""

    def __init__(self, num_classes, in_channels, image_size):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, 12, 5, stride=3), nn.BatchNorm2d(12), nn.ReLU())
        with torch.no_grad():
            size = self.features(torch.rand(2, in_channels, image_size, image_size)).flatten(1).shape[1]
        self.head = nn.Linear(size, num_classes)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


def test_a_builder_that_runs_its_layers_supports_empty_and_renew(registered):
    name = registered(RunsItself)
    network = empty(name, image_size=20)
    assert all(tensor.is_meta for tensor in network.state_dict().values())
    assert network.head.in_features == 12 * 36
    model = build(name, image_size=20)
    small = prune(model, {"features.0": range(7)}, torch.zeros(1, 1, 20, 20))
    before = {key: tensor.clone() for key, tensor in small.state_dict().items()}
    renew(name, small, image_size=20)
    assert {k: t.shape for k, t in small.state_dict().items()} == {k: t.shape for k, t in before.items()}
    assert not (small.features[0].weight == before["features.0.weight"]).any()
    assert not (small.head.weight == before["head.weight"]).any()


def test_threads_can_build_at_the_same_time(registered):
    barrier, found = threading.Barrier(2, timeout=60), {}

    def builder(num_classes, in_channels, image_size):
        barrier.wait()  # both threads are inside
        layer = nn.Linear(4, num_classes)
        barrier.wait()
        return layer

    name = registered(builder)
    other = threading.Thread(target=lambda: found.update(empty=empty(name)))
    other.start()
    found["real"] = build(name)
    other.join()
    assert found["empty"].weight.is_meta
    assert not found["real"].weight.is_meta


def test_a_builders_own_error_is_raised_by_empty(registered):
    def builder(num_classes, in_channels, image_size):
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        empty(registered(builder))


# --- new weights ---


@pytest.mark.parametrize("name", ["lenet5", "vgg16-small"])
def test_renew_gives_the_builders_initial_weights(name):
    torch.manual_seed(0)
    wanted = build(name)
    model = build(name)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(7)
    torch.manual_seed(0)
    assert renew(name, model) is model
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in wanted.state_dict().items())


def test_renew_uses_the_widths_of_a_trimmed_network():
    torch.manual_seed(0)
    model = build("vgg16-small")
    small = prune(model, {"features.conv3_1": range(100), "classifier.fc6": range(400)}, torch.zeros(1, 1, 28, 28))
    shapes = {key: value.shape for key, value in small.state_dict().items()}
    renew("vgg16-small", small)
    assert {key: value.shape for key, value in small.state_dict().items()} == shapes
    fan_out = 156 * 9  # the standard deviation depends on the trimmed width
    assert small.features.conv3_1.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
    assert small.classifier.fc6.weight.abs().max().item() == pytest.approx(512**-0.5, rel=0.01)
    assert small.classifier.fc7.weight.abs().max().item() == pytest.approx(112**-0.5, rel=0.01)


def test_renew_refuses_a_network_that_the_builder_does_not_build():
    with pytest.raises(SpecError, match=r"cannot reinitialise '0\.weight': the builder does not build the same"):
        renew("lenet5", nn.Sequential(nn.Linear(3, 3)))


# --- registering ---


def test_a_registered_network_can_be_built_by_name(monkeypatch, registry):

    @register("line", "one layer", channels=2, image_size=5, min_size=4)
    def line(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        return nn.Linear(in_channels * image_size, num_classes)

    assert build("line").weight.shape == (10, 10)
    assert build("line", 3, 2, 4).weight.shape == (3, 8)
    assert line(1, 1, 1).weight.shape == (1, 1)
    assert architecture("line").description == "one layer"
    assert models.listed()["line"] == "one layer"
    register("line", "again, as in a notebook")(line)
    assert architecture("line").description == "again, as in a notebook"


def test_the_name_of_a_built_in_model_cannot_be_registered():
    for name in ("lenet5", "resnet18"):
        with pytest.raises(SpecError, match=f"'{name}' is the name of a built-in model: register yours under another"):
            register(name, "mine")
