"""The guarantee: a pruned network computes what the full one does with the pruned activations held at zero."""

import copy

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.trimcore.nets import NETS, Net, conv, drawn
from tests.trimcore.oracle import ROUNDING, check, gap, images, masked, random_plan, randomised
from trimcore.errors import NotTrimmable
from trimcore.graph.removal import kept_neurons
from trimcore.graph.tracing import trace
from trimcore.models import build
from trimcore.surgery import cut
from trimcore.surgery.cut import prune, sliced
from trimcore.surgery.widths import set_widths


def made(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return randomised(NETS[name](), seed)


# --- width attributes


@pytest.mark.parametrize(
    ("module", "sizes", "numbers"),  # in, out, groups
    [
        (nn.Conv2d(3, 5, 3), {"out": 4, "in": 2}, (2, 4, 1)),
        (nn.Conv2d(8, 16, 3, groups=8), {"out": 6}, (3, 6, 3)),  # cut in whole groups
        (nn.Conv2d(8, 16, 3, groups=8), {"out": 6, "in": 3}, (3, 6, 3)),
        (nn.Conv2d(6, 9, 3, groups=3), {"out": 6}, (4, 6, 2)),
        (nn.Conv2d(2, 4, 3, groups=2), {"out": 2}, (1, 2, 1)),
        (nn.ConvTranspose2d(8, 16, 3, groups=8), {"in": 3}, (3, 6, 3)),
        (nn.ConvTranspose2d(6, 9, 3, groups=3), {"in": 4}, (4, 6, 2)),
        (nn.Conv2d(12, 6, 3, groups=2), {"out": 4, "in of one group": 5}, (10, 4, 2)),  # the same positions in each
        (nn.Conv2d(12, 6, 3, groups=2), {"out": 4}, (12, 4, 2)),
        (nn.Conv2d(12, 6, 3, groups=2), {"in of one group": 5}, (10, 6, 2)),
        (nn.Conv2d(12, 6, 3, groups=2), {"in": 8, "in of one group": 5}, (8, 6, 2)),
        (nn.ConvTranspose2d(12, 6, 3, groups=2), {"in": 8, "out of one group": 2}, (8, 4, 2)),
        (nn.ConvTranspose2d(12, 6, 3, groups=2), {"out": 2, "out of one group": 2}, (12, 2, 2)),
    ],
)
def test_convolution_widths_follow_from_the_tensors(module, sizes, numbers):
    module = copy.deepcopy(module)
    whole_groups = module.groups >= module.in_channels // module.groups if module.groups > 1 else None
    set_widths(module, sizes)
    found = module.in_channels, module.out_channels, module.groups
    assert found == numbers
    assert {type(number) for number in found} == {int}
    assert getattr(module, "cut_whole_groups", None) is whole_groups  # kept for later cuts, when few groups may be left


# --- against the oracle


@pytest.mark.parametrize("ratio", [0, 0.3, 0.7, 1])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NETS)
def test_small_networks(name, seed, ratio):
    model, x = made(name, seed), images(3, 3, 8, 8, seed=seed)
    graph = trace(model, x)
    check(model, random_plan(graph, ratio, seed), x, graph)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**9), st.floats(0, 1))
def test_random_networks(seed, ratio):
    torch.manual_seed(seed)
    model, x = randomised(drawn(seed), seed), images(2, 3, 8, 8, seed=seed)
    graph = trace(model, x)
    plan = random_plan(graph, ratio, seed)
    with torch.no_grad():
        assert gap(prune(model, plan, graph=graph)(x), masked(graph, plan)(x)) < ROUNDING


ARCHITECTURES = {
    "lenet5": (lambda: build("lenet5"), 1, 28),
    "vgg16-small": (lambda: build("vgg16-small", in_channels=3, image_size=32), 3, 32),
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=10), 3, 64),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(num_classes=10), 3, 64),
    "densenet121": (lambda: torchvision.models.densenet121(num_classes=10), 3, 64),
    "googlenet": (lambda: torchvision.models.googlenet(num_classes=10, aux_logits=False, init_weights=False), 3, 64),
    "squeezenet1_1": (lambda: torchvision.models.squeezenet1_1(num_classes=10), 3, 64),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures(name):
    torch.manual_seed(0)
    make, channels, size = ARCHITECTURES[name]
    model, x = randomised(make()), images(1, channels, size, size)
    graph = trace(model, x)
    assert len(graph.trimmable()) >= 3
    check(model, random_plan(graph, 0.3, 0, graph.trimmable()[:1]), x, graph)  # one layer
    for seed, ratio in enumerate((0.2, 0.8), 1):
        check(model, random_plan(graph, ratio, seed), x, graph)


def test_lenet_with_activations_held_by_hooks():
    """Like the oracle, but without the channel graph: the hooks are set by hand on the ReLU after each layer."""
    torch.manual_seed(0)
    model, x = randomised(build("lenet5")), images(5, 1, 28, 28)
    plan = {"conv1": [0, 19], "conv2": [3, 17, 49], "fc1": list(range(0, 500, 2))}
    small = prune(model, plan, x)
    for layer, relu in {"conv1": "relu1", "conv2": "relu2", "fc1": "relu3"}.items():
        model.get_submodule(relu).register_forward_hook(lambda module, x, y, removed=plan[layer]: held(y, removed))
    with torch.no_grad():
        assert gap(small(x), model(x)) < ROUNDING
    assert (small.conv1.out_channels, small.conv2.in_channels, small.conv2.out_channels) == (18, 18, 47)
    assert (small.fc1.in_features, small.fc1.out_features, small.fc2.in_features) == (47 * 16, 250, 250)


def held(y: Tensor, removed: list[int]) -> Tensor:
    y = y.clone()
    y[:, removed] = 0
    return y


def test_a_residual_stream_loses_a_neuron_in_every_branch():
    model, x = made("residual"), images(3, 3, 8, 8)
    small = check(model, {"stem": [1, 4], "conv3": [0]}, x)
    kept = [0, 2, 3, 5]
    for one, other in ((small.stem, model.stem), (small.conv2, model.conv2), (small.norm2, model.norm2)):
        assert torch.equal(one.weight, other.weight[kept])
    assert torch.equal(small.conv1.weight, model.conv1.weight[:, kept])
    assert torch.equal(small.downsample.weight, model.downsample.weight[1:, kept])
    assert torch.equal(small.norm2.running_var, model.norm2.running_var[kept])


def test_any_tied_layer_names_the_same_neurons():
    model, x = made("depthwise"), images(2, 3, 8, 8)
    one, two = (prune(model, plan, x) for plan in ({"conv1": [1, 5]}, {"depthwise": [3, 10, 11]}))
    assert_same(one, two)
    assert (two.depthwise.in_channels, two.depthwise.groups, two.depthwise.out_channels) == (4, 4, 8)
    kept = kept_neurons(trace(model, x), {"depthwise": [3, 10]})
    assert kept == {"conv1": [0, 2, 3, 4], "depthwise": [0, 1, 4, 5, 6, 7, 8, 9], "project": [0, 1, 2]}


def assert_same(one: nn.Module, two: nn.Module) -> None:
    assert one.state_dict().keys() == two.state_dict().keys()
    assert all(torch.equal(value, two.state_dict()[key]) for key, value in one.state_dict().items())


# --- the paper's sizes

LENET = {(50, 500): 431_080, (41, 426): 305_213, (31, 349): 193_004, (26, 293): 138_667, (24, 252): 112_094}


@pytest.mark.parametrize(("widths", "parameters"), LENET.items())
def test_published_sizes_of_lenet(widths, parameters):
    conv2, fc1 = widths
    plan = {"conv2": range(conv2, 50), "fc1": range(fc1, 500)}
    small = prune(build("lenet5"), plan, torch.zeros(1, 1, 28, 28))
    assert sum(p.numel() for p in small.parameters()) == parameters
    assert small(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


# --- plans


def test_order_and_duplicates_do_not_matter_and_an_empty_plan_copies():
    model, x = made("functional"), images(2, 3, 8, 8)
    one, two = (prune(model, {"fc1": plan}, x) for plan in ([5, 0, 5, 3], (0, 3, 5)))
    assert_same(one, two)
    for nothing in ({}, {"fc1": []}):
        assert_same(prune(model, nothing, x), model)


def test_pruning_in_two_steps_is_the_same_as_in_one():
    model, x = made("dense"), images(2, 3, 8, 8)
    once = prune(model, {"conv0": [0, 2, 3], "conv1": [1]}, x)
    assert_same(prune(prune(model, {"conv0": [2]}, x), {"conv0": [0, 2], "conv1": [1]}, x), once)


INVALID = {
    "too high": ({"conv1": [7]}, "layer 'conv1' has neurons 0 to 6, not 7"),
    "negative": ({"conv1": [-1]}, "layer 'conv1' has neurons 0 to 6, not -1"),
    "unknown": ({"conv3": [0]}, "there is no layer 'conv3'; trimmable layers: conv1, conv2, fc1"),
    "output": ({"fc2": [0]}, "layer 'fc2' cannot be trimmed: it is an output of the network"),
    "all": ({"fc1": range(9)}, "the plan would remove every neuron of layer 'fc1'; at least one must stay"),
}


@pytest.mark.parametrize(("plan", "message"), INVALID.values(), ids=INVALID)
def test_invalid_plans_raise(plan, message):
    with pytest.raises(NotTrimmable, match=f"^{message}$"):
        prune(made("functional"), plan, images(1, 3, 8, 8))


def test_a_frozen_neuron_raises_and_its_neighbours_can_be_removed():
    model, x = made("partly_frozen"), images(2, 3, 8, 8)
    with pytest.raises(NotTrimmable, match="neuron 1 of layer 'conv3' cannot be removed: softmax normalises over"):
        prune(model, {"conv3": [1]}, x)
    assert prune(model, {"conv3": [3, 5]}, x).conv2.out_channels == 2
    with pytest.raises(NotTrimmable, match="every neuron of layer 'conv2'"):
        prune(model, {"conv3": [2, 3, 4, 5]}, x)


def test_the_graph_must_be_of_this_model():
    graph = trace(made("dense"), images(1, 3, 8, 8))
    with pytest.raises(NotTrimmable, match="traced from a different model"):
        prune(made("dense"), {"conv0": [1]}, graph=graph)
    with pytest.raises(NotTrimmable, match="needs an example_input"):
        prune(made("dense"), {"conv0": [1]})


# --- what pruning keeps


def decorated() -> nn.Module:
    """A residual network with unusual modes, gradients, attributes and memory format."""
    model = made("residual").to(memory_format=torch.channels_last).train()
    model.norm1.eval()
    model.stem.weight.requires_grad_(False)
    model.norm3.bias.requires_grad_(False)
    model.note = "mine"
    model(images(2, 3, 8, 8)).sum().backward()
    return model


PLAN = {"stem": [1, 4], "conv1": [0], "conv3": [2]}


def test_the_original_is_unchanged_bit_for_bit():
    model = decorated()
    state, wanted = copy.deepcopy(model.state_dict()), model.eval()(images(2, 3, 8, 8))
    model.train().norm1.eval()
    modes = {name: m.training for name, m in model.named_modules()}
    tensors = [(id(p), p.requires_grad, p.stride(), p.grad is None or p.grad.clone()) for p in model.parameters()]
    prune(model, PLAN, images(2, 3, 8, 8))
    assert {name: m.training for name, m in model.named_modules()} == modes
    for before, p in zip(tensors, model.parameters(), strict=True):
        assert before[:3] == (id(p), p.requires_grad, p.stride())
        assert before[3] is True if p.grad is None else torch.equal(before[3], p.grad)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert torch.equal(model.eval()(images(2, 3, 8, 8)), wanted)


def test_the_pruned_network_keeps_modes_names_and_attributes():
    model = decorated()
    small = prune(model, PLAN, images(2, 3, 8, 8))
    assert {name: (m.training, type(m)) for name, m in small.named_modules()} == {
        name: (m.training, type(m)) for name, m in model.named_modules()
    }
    pairs = list(zip(small.named_parameters(), model.named_parameters(), strict=True))
    for (name, one), (other_name, other) in pairs:
        assert (name, one.requires_grad, one.dtype) == (other_name, other.requires_grad, torch.float64)
        assert one.is_leaf
        assert one.grad is None
        assert one.dim() < 4 or one.is_contiguous(memory_format=torch.channels_last)
    assert small.note == "mine"
    assert small.norm3.num_batches_tracked == model.norm3.num_batches_tracked == 1


def test_buffers_remain_buffers():
    resnet = torchvision.models.resnet18(num_classes=10)
    small = prune(resnet, {"layer1.0.conv1": [0, 3]}, torch.zeros(1, 3, 32, 32))
    assert len(small.layer1[0].bn1.running_mean) == 62
    for name, buffer in small.named_buffers():
        assert not isinstance(buffer, nn.Parameter), name


def test_a_result_that_a_module_stores_is_copied_without_its_autograd_history():
    """For example a loss, which PyTorch cannot deep-copy."""
    model = build("lenet5")
    model.loss = model(torch.zeros(1, 1, 28, 28)).sum()
    small = prune(model, {"conv2": [1]}, torch.zeros(1, 1, 28, 28))
    assert small.loss.item() == model.loss.item()
    assert small.loss.grad_fn is None
    assert small.loss is not model.loss
    assert model.loss.grad_fn is not None


def test_hooks_are_kept():
    model, calls = made("functional"), []
    model.conv2.register_forward_hook(lambda module, x, y: calls.append(tuple(y.shape)))
    small = prune(model, {"conv2": [0]}, images(2, 3, 8, 8))
    assert calls == []
    small(images(2, 3, 8, 8))
    assert calls == [(2, 5, 4, 4)]


def test_original_and_pruned_share_no_memory_and_train_independently():
    model = decorated()
    small = prune(model, PLAN, images(2, 3, 8, 8))
    storages = [{t.untyped_storage().data_ptr() for t in m.state_dict().values()} for m in (model, small)]
    assert storages[0].isdisjoint(storages[1])
    before, start = copy.deepcopy(model.state_dict()), copy.deepcopy(small.state_dict())
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1, momentum=0.9)
    small(images(2, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    trained = {name for name, p in small.named_parameters() if not torch.equal(p, start[name])}
    assert trained == {name for name, p in small.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_dtype_is_kept(dtype):
    model = made("conv_norm_relu").to(dtype)
    small = prune(model, {"conv2": [1]}, images(1, 3, 8, 8, dtype=dtype))
    assert {t.dtype for t in small.state_dict().values()} == {dtype, torch.int64}


def test_a_parametrized_layer_keeps_its_width_while_others_are_cut():
    norm = nn.utils.parametrizations.spectral_norm(conv(6, 6))
    model = randomised(
        Net(
            lambda m, x: m.d(m.relu(m.c(m.relu(m.b(m.relu(m.a(x))))))),
            a=conv(3, 6),
            b=norm,
            c=conv(6, 5),
            d=conv(5, 2),
            relu=nn.ReLU(),
        )  # fmt: skip
    )
    x = images(2, 3, 8, 8)
    assert trace(model, x).trimmable() == ["c"]
    assert check(model, {"c": [0, 3]}, x).b.weight.shape == (6, 6, 3, 3)


@pytest.mark.parametrize("block", [1, 40, 10**6])
@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3, 2), (7, 9, 2)])
@pytest.mark.parametrize("kept", [([6, 0, 3], [8, 1]), (None, [4]), ([2], None), ([], [1]), ([1, 2], [])])
def test_weights_are_cut_along_two_axes_for_any_block_size(block, shape, kept, monkeypatch):
    monkeypatch.setattr(cut, "BLOCK", block)
    weight = torch.arange(torch.Size(shape).numel()).view(shape)
    rows, columns = (range(size) if which is None else which for size, which in zip(shape, kept, strict=False))
    expected = weight.numpy()[list(rows)][:, list(columns)]
    found = sliced(weight, tuple(None if which is None else torch.tensor(which, dtype=torch.int64) for which in kept))
    assert found.shape == expected.shape
    assert (found.numpy() == expected).all()
