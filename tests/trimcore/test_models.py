"""The registry: what the architectures are, which images they take, and what new weights are."""

import pytest
import torch
from torch import nn

from trimcore import models
from trimcore.errors import SpecError
from trimcore.models import REGISTRY, architecture, build, empty, example_input, register, renew
from trimcore.surgery import prune
from trimcore.tracing import trace


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


VGG_SMALL = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def test_the_sizes_are_known():
    assert parameters(build("lenet5")) == 431_080
    assert parameters(empty("vgg16", num_classes=1000)) == 138_357_544
    convolutions = sum(9 * a * b + 2 * b for a, b in zip([3, *VGG_SMALL], VGG_SMALL, strict=False))
    assert parameters(build("vgg16-small", in_channels=3)) == convolutions + 2 * (512 * 512 + 512) + 512 * 10 + 10


def test_layers_to_trim_have_the_papers_names():
    assert trace(build("lenet5"), torch.zeros(1, 1, 28, 28)).trimmable() == ["conv1", "conv2", "fc1"]
    blocks = [(1, 2), (2, 2), (3, 3), (4, 3), (5, 3)]
    names = [f"features.conv{block}_{i}" for block, count in blocks for i in range(1, count + 1)]
    graph = trace(build("vgg16-small"), torch.zeros(1, 1, 28, 28))
    assert graph.trimmable() == [*names, "classifier.fc6", "classifier.fc7"]
    assert [graph.layers[name].width for name in names] == VGG_SMALL


@pytest.mark.parametrize("name", ["lenet5", "vgg16-small"])
@pytest.mark.parametrize("arguments", [(3, 1, None), (10, 3, 33), (100, 2, 64), (1, 1, "least")])
def test_every_size_that_is_said_to_work_works(name, arguments):
    classes, channels, size = arguments
    size = architecture(name).min_size if size == "least" else size or 28
    model = build(name, classes, channels, size).eval()
    x = example_input({"in_channels": channels, "image_size": size}, batch=2)
    assert x.shape == (2, channels, size, size)
    assert model(x).shape == (2, classes)


@pytest.mark.parametrize("name", REGISTRY)
def test_smaller_images_are_refused(name):
    entry = architecture(name)
    with pytest.raises(SpecError, match=f"{name} needs images of at least {entry.min_size} pixels, not"):
        build(name, image_size=entry.min_size - 1)
    graph = trace(empty(name, image_size=entry.min_size), torch.zeros(1, entry.channels or 1, *[entry.min_size] * 2))
    assert graph.trimmable()


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_one_pixel_less_would_not_do_for_lenet():
    with pytest.raises(RuntimeError):
        models.lenet5(10, 1, 15)(torch.zeros(1, 1, 15, 15))


def test_what_the_entry_wants_is_the_default():
    assert build("lenet5").conv1.in_channels == 1
    assert empty("vgg16").features[0].in_channels == 3
    assert empty("vgg16").classifier[6].out_features == 10
    with pytest.raises(SpecError, match="vgg16 takes 3 channels, not 1"):
        empty("vgg16", in_channels=1)


def test_unknown_names_are_answered_with_those_that_exist():
    with pytest.raises(SpecError, match="unknown model 'alexnet'; there are lenet5, vgg16, vgg16-small"):
        build("alexnet")


def test_empty_is_the_same_without_memory():
    for name in REGISTRY:
        assert all(t.is_meta for t in empty(name).state_dict().values())
    one, two = empty("lenet5").state_dict(), build("lenet5").state_dict()
    assert {key: t.shape for key, t in one.items()} == {key: t.shape for key, t in two.items()}


@pytest.mark.parametrize("name", ["lenet5", "vgg16-small"])
def test_new_weights_are_those_that_the_builder_gives(name):
    torch.manual_seed(0)
    wanted = build(name)
    model = build(name)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(7)
    torch.manual_seed(0)
    assert renew(name, model) is model
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in wanted.state_dict().items())


def test_new_weights_for_a_trimmed_network():
    torch.manual_seed(0)
    model = build("vgg16-small")
    small = prune(model, {"features.conv3_1": range(100), "classifier.fc6": range(400)}, torch.zeros(1, 1, 28, 28))
    shapes = {key: value.shape for key, value in small.state_dict().items()}
    renew("vgg16-small", small)
    assert {key: value.shape for key, value in small.state_dict().items()} == shapes
    fan_out = 156 * 9  # the standard deviation goes with the width that there is
    assert small.features.conv3_1.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
    assert small.classifier.fc6.weight.abs().max().item() == pytest.approx(512**-0.5, rel=0.01)


def test_vgg16_gets_torchvision_s_weights():
    model = models.renew("vgg16", nn.Sequential(nn.Conv2d(8, 32, 3), nn.Linear(300, 200)))
    assert model[0].weight.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.05)
    assert model[1].weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not model[0].bias.any()
    assert not model[1].bias.any()


def test_registering(monkeypatch):
    monkeypatch.setattr(models, "REGISTRY", dict(REGISTRY))

    @register("line", "one layer", channels=2, image_size=5, min_size=4)
    def line(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        return nn.Linear(in_channels * image_size, num_classes)

    assert build("line").weight.shape == (10, 10)
    assert build("line", 3, 7, 4).weight.shape == (3, 28)
    assert line(1, 1, 1).weight.shape == (1, 1)
    assert architecture("line").description == "one layer"
