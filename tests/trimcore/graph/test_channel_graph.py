"""Which layers are tied, which are frozen and why, and that tracing has no side effects."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.trimcore import nets
from tests.trimcore.nets import NETS, Net, conv
from tests.trimcore.oracle import check, gap, images, randomised
from trimcore.errors import NotTrimmable
from trimcore.graph.costs import cost_of
from trimcore.graph.groups import connected, first_reasons
from trimcore.graph.tracing import trace
from trimcore.models import build

IMAGES = torch.zeros(2, 3, 8, 8)


def graph_of(name: str):
    return trace(NETS[name](), IMAGES)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(
    st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=40)
)))  # fmt: skip
def test_connected_returns_the_smallest_atom_of_each_component(drawn):
    count, pairs = drawn
    label = list(range(count))
    for a, b in pairs:
        low, high = sorted((label[a], label[b]))
        label = [low if x == high else x for x in label]
    assert connected(count, [(torch.tensor([a]), torch.tensor([b])) for a, b in pairs]).tolist() == label


def test_a_long_chain_is_one_component():
    a = torch.arange(4999)
    shuffled = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    assert connected(5000, [(shuffled[a], shuffled[a + 1])]).unique().tolist() == [0]


TRIMMABLE = {
    "conv_norm_relu": {"conv1": 8, "conv2": 6},
    "functional": {"conv1": 7, "conv2": 6, "fc1": 9},
    "residual": {"stem": 6, "conv1": 5, "conv3": 8},
    "dense": {"conv0": 6, "conv1": 3, "conv2": 3},
    "branches": {"conv1": 4, "conv2": 5},
    "squeeze_excitation": {"conv1": 6, "squeeze": 4},
    "depthwise": {"conv1": 6},
    "used_twice": {"first": 6},
    "over_positions": {"conv1": 6, "mix": 5},
    "recurrent": {"conv1": 6, "rnn": 5},
    "partly_frozen": {"conv2": 4},
    "maxouts": {"conv1": 10, "conv2": 3, "fc1": 12},
}


@pytest.mark.parametrize("name", NETS)
def test_trimmable_layers_and_widths(name):
    graph = graph_of(name)
    assert {layer: graph.layers[layer].width for layer in graph.trimmable()} == TRIMMABLE[name]
    assert all(len(graph.candidates(layer)) == width for layer, width in TRIMMABLE[name].items())


@pytest.mark.parametrize(
    ("name", "leader", "tied"),
    [
        ("residual", "stem", ["conv2"]), ("residual", "conv3", ["downsample"]), ("depthwise", "conv1", ["depthwise"]),
        ("squeeze_excitation", "conv1", ["expand"]), ("used_twice", "first", ["shared"]), ("dense", "conv0", []),
    ],
)  # fmt: skip
def test_tied_layers_are_trimmed_with_the_first(name, leader, tied):
    graph = graph_of(name)
    assert graph.layers[leader].tied == tied
    assert [layer for layer, found in graph.layers.items() if found.leader == leader] == [leader, *tied]
    for layer in tied:
        assert set(graph.layers[layer].neurons.tolist()) == set(graph.layers[leader].neurons.tolist())


def test_all_filters_of_a_depthwise_channel_share_its_group():
    graph = graph_of("depthwise")
    one, two = (graph.layers[name].neurons.tolist() for name in ("conv1", "depthwise"))
    assert two == [group for group in one for _ in range(2)]


def test_single_neurons_of_a_layer_can_be_frozen():
    graph = graph_of("partly_frozen")
    assert graph.candidates("conv3") == [2, 3, 4, 5]
    assert graph.layers["conv3"].neurons[2:].tolist() == graph.layers["conv2"].neurons.tolist()


def test_positions_are_summed_over_calls():
    graph = graph_of("used_twice")
    assert {name: part.positions for name, part in graph.parts.items()} == {"first": 64, "shared": 128, "last": 64}
    graph = graph_of("over_positions")
    assert {name: part.positions for name, part in graph.parts.items()} == {"conv1": 64, "mix": 64, "fc": 1}


def test_sites_are_at_the_activations():
    graph = graph_of("conv_norm_relu")
    assert [(site.node, site.axis, len(site.groups)) for site in graph.sites] == [("relu", 1, 8), ("relu_1", 1, 6)]
    graph = graph_of("over_positions")
    assert [(site.node, site.axis, len(site.groups)) for site in graph.sites] == [("relu", 1, 6), ("gelu", 2, 5)]


# --- refusals


def two(steps) -> Net:
    return Net(steps, a=conv(3, 2), b=conv(2, 2))


def tied_weights() -> Net:
    return Net(lambda m, x: F.linear(m.relu(m.b(m.relu(m.a(x.flatten(1))))), m.b.weight.t()),
               a=nn.Linear(192, 7), b=nn.Linear(7, 5), relu=nn.ReLU())  # fmt: skip


def shared(kind: str) -> Net:
    """conv1 and conv2 share a weight or bias, or their norms share a running mean."""

    def steps(m, x):
        return m.last(m.relu(m.norm2(m.conv2(m.relu(m.norm1(m.conv1(m.relu(m.first(x)))))))))

    modules = {name: conv(6, 6) for name in ("conv1", "conv2")} | {
        name: nn.BatchNorm2d(6) for name in ("norm1", "norm2")
    }
    net = Net(steps, first=conv(3, 6), relu=nn.ReLU(), **modules, last=conv(6, 2))
    if kind == "running_mean":
        net.norm2.running_mean = net.norm1.running_mean
    else:
        setattr(net.conv2, kind, getattr(net.conv1, kind))
    return net


REASONS = {
    "an output": (NETS["functional"], "fc2", "it is an output of the network"),
    "never finite": (lambda: two(lambda m, x: m.b(1 / m.a(x))), "a", "truediv has no finite value at zero"),
    "weight read directly": (tied_weights, "a", "b shares its weights with b_weight"),
    "one weight": (lambda: shared("weight"), "conv1", "conv1 shares its weights with conv2"),
    "one bias": (lambda: shared("bias"), "conv1", "conv1 shares its weights with conv2"),
    "one statistic": (lambda: shared("running_mean"), "conv2", "norm2 shares its weights with norm1"),
    "part of a layer": (NETS["partly_frozen"], "conv1", "softmax normalises over all channels together"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "layer", "reason"), REASONS.values(), ids=REASONS)
def test_the_error_names_the_layer_and_the_reason(make, layer, reason):
    graph = trace(make(), IMAGES)
    with pytest.raises(NotTrimmable) as refusal:
        graph.layer(layer)
    assert str(refusal.value) == f"layer {layer!r} cannot be trimmed: {reason}"
    assert graph.candidates(layer) == []


def test_the_error_for_an_unknown_layer_lists_the_trimmable_ones():
    with pytest.raises(NotTrimmable, match="there is no layer 'conv9'; trimmable layers: conv1, conv2, fc1"):
        graph_of("functional").layer("conv9")
    with pytest.raises(NotTrimmable, match="trimmable layers: none"):
        trace(Net(lambda m, x: m.a(x), a=conv(3, 2)), IMAGES).layer("b")


class DataDependent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


UNTRACEABLE = {
    "control flow": (DataDependent, "cannot be traced: DataDependent reads values that only data decides (__bool__)"),
    "no tensor": (lambda: Net(lambda m, x: None), "Net cannot be traced: its forward function returns no tensor"),
    "channels": (lambda: Net(lambda m, x: m.a(x), a=conv(4, 2)), "a: "),
    "features": (lambda: Net(lambda m, x: m.a(m.b(x)), a=nn.Linear(7, 2), b=conv(3, 2)),
                 "a: it expects 7 features, not 8"),
    "norm": (lambda: Net(lambda m, x: m.a(x), a=nn.BatchNorm2d(5)), "a expects 5 channels, not 3"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), UNTRACEABLE.values(), ids=UNTRACEABLE)
def test_an_untraceable_network_raises_a_one_line_error(make, message):
    with pytest.raises(NotTrimmable) as refusal:
        trace(make(), IMAGES)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


class Auxiliary(nn.Module):
    """Has a head that is only used in training."""

    def __init__(self):
        super().__init__()
        self.stem, self.main, self.fc = conv(3, 6), conv(6, 5), nn.Linear(5, 2)
        self.head, self.norm, self.end = conv(6, 4), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x: Tensor):
        x = torch.relu(self.stem(x))
        main = self.fc(torch.relu(self.main(x)).mean((2, 3)))
        if self.training:
            return main, self.end(torch.relu(self.norm(self.head(x))).mean((2, 3)))
        return main


def test_a_head_that_is_only_used_in_training_is_cut_too():
    model, x = randomised(Auxiliary()), images(4, 3, 8, 8)
    graph = trace(model, x)
    assert graph.trimmable() == ["stem", "main"]
    assert graph.layers["head"].reason == "it is only used in training"
    assert (graph.parts["head"].positions, graph.parts["main"].positions) == (0, 64)
    assert cost_of(graph).macs == 64 * 9 * (3 * 6 + 6 * 5) + 5 * 2
    assert graph.outputs == [torch.Size([4, 2])]
    plan = {"stem": [0, 4], "main": [3]}
    small = check(model, plan, x, graph).train()
    assert (small.head.in_channels, small.head.out_channels) == (4, 4)
    whole = model.train()
    for name, removed in plan.items():  # the activation is a function, so hold its input at zero: relu(0) = 0
        whole.get_submodule(name).register_forward_hook(lambda m, i, y, removed=removed: zeroed(y, removed))
    for one, other in zip(whole(x), small(x), strict=True):
        assert gap(other, one) < 1e-11


def zeroed(y: Tensor, removed: list[int]) -> Tensor:
    y = y.clone()
    y[:, removed] = 0
    return y


# --- side effects of tracing


@pytest.mark.parametrize("name", ["conv_norm_relu", "residual", "branches"])
def test_tracing_changes_nothing_and_calls_no_hook(name):
    torch.manual_seed(0)
    model = NETS[name]()
    next(model.children()).eval()
    calls = []
    for module in model.modules():
        module.register_forward_hook(lambda *_: calls.append(1))
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    hooks, random_state = [len(m._forward_hooks) for m in model.modules()], torch.get_rng_state()
    trace(model, images(2, 3, 8, 8))
    assert not calls
    assert [m.training for m in model.modules()] == modes
    assert [len(m._forward_hooks) for m in model.modules()] == hooks
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", NETS)
def test_the_graph_does_not_depend_on_device_dtype_or_mode(name):
    torch.manual_seed(0)
    model = NETS[name]()
    wanted = trace(model, IMAGES)
    others = [copy.deepcopy(model).to(dtype) for dtype in (torch.float64, torch.float16, torch.bfloat16)]
    for other in (*others, copy.deepcopy(model).to("meta"), copy.deepcopy(model).train(), copy.deepcopy(model).eval()):
        found = trace(other, IMAGES)
        assert found.frozen == wanted.frozen
        assert found.layers.keys() == wanted.layers.keys()
        for layer in wanted.layers:
            assert torch.equal(found.layers[layer].neurons, wanted.layers[layer].neurons)


def test_kept_positions_match_a_loop_over_groups():
    graph = trace(build("densenet121", image_size=32), torch.zeros(1, 3, 32, 32))
    removed = torch.rand(graph.group_count, generator=torch.Generator().manual_seed(0)) < 0.3
    kept, sizes = graph.kept(removed), graph.sizes(removed)
    assert list(kept) == list(sizes) == list(graph.parts)
    for name, part in graph.parts.items():
        expected = {
            role: [place for place, group in enumerate(groups.tolist()) if not removed[group]]
            for role, groups in part.groups.items()
        }
        assert {role: positions.tolist() for role, positions in kept[name].items()} == expected
        assert sizes[name] == {role: len(positions) for role, positions in expected.items()}


def test_a_group_has_the_first_reason_that_freezes_it():
    root = torch.tensor([0, 1, 0, 3, 3])
    freezes = [(torch.tensor([2]), "first"), (torch.tensor([0, 4]), "second"), (torch.arange(0), "of none"),
               (torch.tensor([3]), "third")]  # fmt: skip
    assert first_reasons(root, freezes) == {0: "first", 3: "second"}
    assert first_reasons(root, []) == {}


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(3, 4), nn.Linear(5, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor, y: Tensor, scale: float = 2.0) -> Tensor:
            return self.out(torch.relu(self.a(x) + self.b(y)) * scale)

    graph = trace(Two(), (torch.zeros(2, 3), torch.zeros(2, 5)))
    assert graph.trimmable() == ["a"]
    assert graph.layers["a"].tied == ["b"]


def test_a_module_under_two_names_is_one_layer():
    twice = conv(6, 6)
    model = Net(lambda m, x: m.out(m.relu(m.b(m.relu(m.a(m.relu(m.first(x))))))),
                first=conv(3, 6), a=twice, b=twice, relu=nn.ReLU(), out=conv(6, 2))  # fmt: skip
    assert list(trace(model, IMAGES).layers) == ["first", "a", "out"]


def test_random_networks_have_trimmable_layers():
    found = [len(trace(nets.drawn(seed), IMAGES).trimmable()) for seed in range(20)]
    assert sum(n > 0 for n in found) > 10
