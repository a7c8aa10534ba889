"""Networks with maxout units, and options of architectures."""

from importlib.metadata import EntryPoint

import pytest
import torch
from torch import nn

from trimcore import models
from trimcore.errors import SpecError
from trimcore.layers.maxout import Maxout, units_of
from trimcore.models import REGISTRY, Option, build, check_options, empty, options_for, plugins, register, renew, vgg
from trimcore.models.own import entry_for


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# --- the networks ---


def test_maxout_variants_are_listed_next_to_the_plain_networks():
    assert list(models.listed())[:6] == [
        "lenet5", "lenet5-maxout", "vgg16", "vgg16-maxout", "vgg16-small", "vgg16-small-maxout",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 427_330), ({"k": 1}, 431_080), ({"k": 2, "width": 100}, 25_570 + 80_100 + 510),
        ({"k": 16, "width": 16}, 25_570 + 800 * 16 + 16 + 20), ({"width": 508}, 25_570 + 801 * 508 + 1280),
    ],
)  # fmt: skip
def test_lenet_has_the_expected_number_of_parameters(options, count):
    assert parameters(build("lenet5-maxout", **options)) == count


def test_lenet_takes_the_maximum_of_four_adjacent_neurons_after_relu_and_dropout():
    torch.manual_seed(0)
    net, x = build("lenet5-maxout"), torch.randn(3, 1, 28, 28)
    net.eval()
    maps = net.pool2(net.conv2(net.pool1(net.conv1(x).relu())).relu())
    hidden = net.fc1(maps.flatten(1)).relu()
    units = torch.stack([hidden[:, i::4] for i in range(4)]).max(0).values
    torch.testing.assert_close(net(x), net.fc2(units))
    net.train()
    torch.manual_seed(1)
    found = net(x)
    torch.manual_seed(1)
    dropped = nn.functional.dropout(hidden, 0.5)
    torch.testing.assert_close(found, net.fc2(torch.stack([dropped[:, i::4] for i in range(4)]).max(0).values))


def test_state_dict_names_match_the_plain_networks():
    assert list(build("lenet5-maxout").state_dict()) == list(build("lenet5").state_dict())
    names = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten", "fc1", "relu3", "fc2"]
    assert [name for name, _ in build("lenet5").named_children()] == names
    assert {name for name, _ in build("lenet5-maxout").named_children()} == {*names, "drop", "maxout"}
    for name in ("vgg16-small", "vgg16"):
        assert list(empty(f"{name}-maxout").state_dict()) == list(empty(name).state_dict())


def test_the_plain_networks_initialise_as_before():
    torch.manual_seed(0)
    net = build("lenet5")
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5), nn.Linear(800, 500), nn.Linear(500, 10)]
    weights = [tensor for layer in layers for tensor in layer.state_dict().values()]
    assert all(map(torch.equal, net.state_dict().values(), weights))


@pytest.mark.parametrize(("options", "width", "left"), [({}, 512, 128), ({"k": 3, "width": 300}, 300, 100)])
def test_the_small_vgg_has_units_after_both_hidden_layers(options, width, left):
    net = build("vgg16-small-maxout", num_classes=7, **options)
    shapes = [tuple(net.get_submodule(f"classifier.fc{n}").weight.shape) for n in (6, 7, 8)]
    assert shapes == [(width, 512), (width, left), (7, left)]
    k = width // left
    assert units_of(net) == {"classifier.maxout6": k, "classifier.maxout7": k}
    assert [name for name, _ in net.classifier.named_children()] == [
        "fc6", "relu6", "drop6", "maxout6", "fc7", "relu7", "drop7", "maxout7", "fc8",
    ]  # fmt: skip
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
    convolutions = parameters(net.features)
    assert parameters(net) == convolutions + 513 * width + (left + 1) * width + (left + 1) * 7


def test_the_large_vgg_has_units_after_both_hidden_layers():
    net = empty("vgg16-maxout", num_classes=1000)
    plain = sum(9 * a * b + b for a, b in zip([3, *VGG], VGG, strict=False))
    assert parameters(net) == plain + 25_089 * 4096 + 1025 * 4096 + 1025 * 1000
    assert units_of(net) == {"classifier.2.maxout": 4, "classifier.5.maxout": 4}
    assert REGISTRY["vgg16-maxout"].pretrained is None
    assert (REGISTRY["vgg16-maxout"].channels, REGISTRY["vgg16-maxout"].image_size) == (3, 224)


VGG = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def test_the_large_vgg_works_at_another_width():
    net = empty("vgg16-maxout", image_size=32, width=12, k=3)
    shapes = [tuple(net.classifier[i].weight.shape) for i in (0, 3, 6)]
    assert shapes == [(12, 25_088), (12, 4), (10, 4)]
    assert isinstance(net.classifier[2].drop, nn.Dropout)
    assert net(torch.zeros(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_the_large_vgg_initialises_linear_layers_like_torchvision():
    layer = vgg._linear(100, 200)
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert not layer.bias.any()


@pytest.mark.parametrize("name", ["lenet5-maxout", "vgg16-small-maxout"])
def test_one_neuron_per_unit_means_no_maximum(name):
    net, plain = build(name, k=1), build(name.removesuffix("-maxout"))
    assert units_of(net) == {}
    net.load_state_dict(plain.state_dict())
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(net.eval()(x), plain.eval()(x))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet5-maxout", {"width": 510}, "width 510 is not a multiple of k = 4; 508 and 512 are"),
        ("lenet5-maxout", {"width": 4, "k": 16}, "width 4 is not a multiple of k = 16; 16 is"),
        ("lenet5-maxout", {"width": 5, "k": 3}, "width 5 is not a multiple of k = 3; 6 is"),
        ("vgg16-small-maxout", {"k": 3}, "width 512 is not a multiple of k = 3; 510 and 513 are"),
        ("vgg16-maxout", {"k": 3}, "width 4096 is not a multiple of k = 3; 4095 and 4098 are"),
    ],
)
def test_a_width_that_k_does_not_divide_is_refused(name, options, message):
    check_options(name, options)
    for make in (build, empty):
        with pytest.raises(SpecError) as error:
            make(name, **options)
        assert str(error.value) == message


def test_renew_keeps_the_pruned_widths():
    torch.manual_seed(0)
    net = build("lenet5-maxout", k=2, width=40)
    net.fc1, net.maxout, net.fc2 = nn.Linear(800, 20), Maxout(1), nn.Linear(20, 10)  # as pruning leaves it
    before = net.fc1.weight.detach().clone()
    renew("lenet5-maxout", net, k=2, width=40)
    assert net.fc1.weight.shape == before.shape
    assert not torch.equal(net.fc1.weight, before)


# --- options ---


def test_missing_options_take_their_defaults():
    assert options_for("lenet5-maxout", {}) == {"k": 4, "width": 500}
    assert options_for("lenet5-maxout", {"width": 100}) == {"k": 4, "width": 100}
    assert options_for("vgg16-maxout", {"k": 2}) == {"k": 2, "width": 4096}
    assert options_for("vgg16-small-maxout", {})["width"] == 512
    assert options_for("lenet5", {}) == options_for("resnet18", {}) == {}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet5", {"k": 4}, "lenet5 has no option 'k'; it has no options"),
        ("lenet5-maxout", {"depth": 4}, "lenet5-maxout has no option 'depth'; expected one of k, width"),
        ("lenet5-maxout", {"k": 0}, "lenet5-maxout takes an integer from 1 to 16 for k, not 0"),
        ("lenet5-maxout", {"k": 17}, "lenet5-maxout takes an integer from 1 to 16 for k, not 17"),
        ("vgg16-maxout", {"width": 3}, "vgg16-maxout takes an integer from 4 to 16384 for width, not 3"),
        ("lenet5-maxout", {"k": 2.0}, "lenet5-maxout takes an integer from 1 to 16 for k, not 2.0"),
        ("lenet5-maxout", {"k": True}, "lenet5-maxout takes an integer from 1 to 16 for k, not True"),
    ],
)
def test_unknown_or_invalid_options_are_refused_by_name(name, options, message):
    for look in (check_options, options_for, lambda name, options: build(name, **options)):
        with pytest.raises(SpecError) as error:
            look(name, options)
        assert str(error.value) == message


def test_the_bounds_themselves_are_accepted():
    for options in ({"k": 1}, {"k": 16}, {"width": 4}, {"width": 16_384}):
        check_options("lenet5-maxout", options)


@pytest.fixture
def wide(monkeypatch, registry):
    """A user's builder, registered with an option."""

    @register("wide", "one layer", options={"width": Option(5, 1, 9, "of the layer")})
    def builder(num_classes: int, in_channels: int, image_size: int, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(in_channels * image_size, width), nn.Linear(width, num_classes))

    return builder


def test_a_registered_network_has_options(wide):
    assert build("wide")[0].out_features == 5
    assert empty("wide", width=7)[0].out_features == 7
    assert options_for("wide", {"width": 2}) == {"width": 2}
    with pytest.raises(SpecError, match="wide takes an integer from 1 to 9 for width, not 10"):
        check_options("wide", {"width": 10})
    renewed = build("wide", width=3)
    weight = renewed[0].weight.detach().clone()
    assert not torch.equal(renew("wide", renewed, width=3)[0].weight, weight)


def test_options_work_for_a_network_named_by_module_and_function(wide):
    entry = entry_for("nets:builder", wide)
    assert entry.build(10, 1, 28, width=8)[0].out_features == 8
    assert entry.build(10, 1, 28)[0].out_features == 5
    with pytest.raises(SpecError, match="nets:builder takes an integer from 1 to 9 for width, not 0"):
        entry.build(10, 1, 28, width=0)


def test_options_of_unimported_networks_are_checked_when_built(monkeypatch):
    monkeypatch.setattr(plugins, "installed", lambda: {"theirs": [EntryPoint("theirs", "no.such:function", "")]})
    check_options("no.such.module:function", {"anything": 1})
    check_options("theirs", {"anything": 1})
    plain = entry_for("nets:linear", lambda num_classes: nn.Linear(3, num_classes))
    with pytest.raises(SpecError, match="nets:linear has no option 'anything'; it has no options"):
        plain.build(10, 1, 28, anything=1)
