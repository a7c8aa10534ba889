"""Layers whose channels keep their places, because the forward function fixes the width of what they give out."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.trimcore.nets import Net, conv
from tests.trimcore.oracle import check, images, random_plan, randomised
from trimcore import models
from trimcore.errors import CheckpointError
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.layers.places import INPUTS, OUTPUTS, read_inputs, set_places, write_outputs
from trimcore.surgery.cut import prune
from trimcore.surgery.reconstruction import build_with


def heads(m, x, kv: int = 3):
    """Attention of three heads of four dimensions, from one projection."""
    tokens = m.first(x).flatten(2).transpose(1, 2)
    b, n, _ = tokens.shape
    q, k, v = m.qkv(tokens).reshape(b, n, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, 12)
    return m.proj(y)


def written_out(m, x):
    tokens = m.first(x).flatten(2).transpose(1, 2)
    b, n, _ = tokens.shape
    q, k, v = (part.view(b, n, 3, 4).transpose(1, 2) for part in m.qkv(tokens).chunk(3, -1))
    y = (q @ k.transpose(-2, -1) * 4**-0.5).softmax(-1) @ v
    return m.proj(y.transpose(1, 2).reshape(b, n, 12))


def grouped_queries(m, x):
    """Three heads of queries share one head of keys and values."""
    tokens = m.first(x).flatten(2).transpose(1, 2)
    b, n, _ = tokens.shape
    q, k, v = m.gqa(tokens).split([12, 4, 4], -1)
    q = q.view(b, n, 3, 4).transpose(1, 2)
    k, v = (t.view(b, n, 1, 4).transpose(1, 2) for t in (k, v))
    y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    return m.proj(y.transpose(1, 2).reshape(b, n, 12))


def sliced(m, x):
    y = m.relu(m.norm(m.wide(x)))
    return m.last(torch.cat([y[:, :5] * 2, y[:, 5:]], 1))


def depthwise(m, x):
    y = m.relu(m.norm(m.deep(m.relu(m.wide(x)))))
    return m.last(torch.cat(y.split([4, 8], 1)[::-1], 1))


def shuffled(m, x):
    """Each channel becomes three, and the threes are shuffled."""
    y = m.relu(m.three(m.relu(m.narrow(x))))
    b, c, h, w = y.shape
    return m.last(y.view(b, 4, c // 4, h, w).transpose(1, 2).flatten(1, 2))


def over_channels(m, x):
    y = m.relu(m.wide(x))
    return m.last(y * torch.sigmoid(m.gate(torch.cat([y.mean(1, keepdim=True), y.amax(1, keepdim=True)], 1))))


def transposed(m, x):
    return m.last(m.relu(m.up(x)).view(len(x), 12, 8, 8))


def branches(m, x):
    u, v = m.relu(m.wide(x)), m.relu(m.other(x))
    w = m.select((u + v).mean((2, 3))).view(len(x), 2, 12, 1, 1).softmax(1)
    return m.last(u * w[:, 0] + v * w[:, 1])


# step, a layer whose neurons can all be removed, the layers whose channels then keep their places
STEPS = {
    "attention": (heads, "qkv", {"qkv", "proj"}), "attention written out": (written_out, "qkv", {"qkv", "proj"}),
    "grouped queries": (grouped_queries, "gqa", {"gqa", "proj"}), "slices": (sliced, "wide", {"wide", "norm", "last"}),
    "depthwise": (depthwise, "wide", {"wide", "deep", "norm", "last"}),
    "three of each": (shuffled, "narrow", {"narrow", "three", "last"}),
    "reduced over channels": (over_channels, "wide", {"wide", "last"}),
    "transposed": (transposed, "up", {"up", "last"}),
    "branches": (branches, "wide", {"wide", "other", "select", "last"}),
}  # fmt: skip


def network(step) -> nn.Module:
    torch.manual_seed(0)
    return randomised(Net(
        step, first=nn.Conv2d(3, 6, 4, 4), qkv=nn.Linear(6, 36), gqa=nn.Linear(6, 20), proj=nn.Linear(12, 4),
        wide=conv(3, 12), other=conv(3, 12), norm=nn.BatchNorm2d(12), relu=nn.ReLU(), last=conv(12, 2),
        deep=conv(12, 12, groups=12), gate=conv(2, 1), up=nn.ConvTranspose2d(3, 12, 3, padding=1),
        select=nn.Linear(12, 24), narrow=conv(3, 4), three=nn.Conv2d(4, 12, 3, padding=1, groups=4),
    ))  # fmt: skip


def placed(model: nn.Module) -> set[str]:
    return {name for name, m in model.named_modules() if INPUTS in m._buffers or OUTPUTS in m._buffers}


@pytest.mark.parametrize(("step", "layer", "layers"), STEPS.values(), ids=STEPS)
def test_the_pruned_network_is_the_masked_one(step, layer, layers):
    model, x = network(step), images(2, 3, 8, 8)
    graph = trace(model, x)
    assert len(graph.candidates(layer)) == graph.layers[layer].width
    for ratio, seed in ((0, 0), (0.5, 1), (1, 2)):
        plan = random_plan(graph, ratio, seed, [layer])
        small = check(model, plan, x, graph)
        assert placed(small) <= layers
        assert layer in placed(small)
        again = trace(small, x)
        predicted, measured = cost_of(graph, plan), cost_of(again)
        assert predicted.parameters == measured.parameters == sum(p.numel() for p in small.parameters())
        assert predicted.macs == measured.macs


@pytest.mark.parametrize(("step", "layer", "layers"), STEPS.values(), ids=STEPS)
def test_a_second_cut_is_exact_too(step, layer, layers):
    model, x = network(step), images(2, 3, 8, 8)
    small = check(model, random_plan(trace(model, x), 0.3, 1, [layer]), x)
    assert trace(small, x).candidates(layer) == list(range(trace(small, x).layers[layer].width))
    smaller = check(small, random_plan(trace(small, x), 0.5, 2, [layer]), x)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in small.parameters())


def test_other_channels_of_the_same_layer_are_cut_as_usual():
    """The first activation is sliced; the second layer's neurons leave the third layer smaller."""

    def step(m, x):
        return m.last(m.relu(m.mid(sliced_map(m.relu(m.wide(x))))))

    def sliced_map(y):
        return torch.cat([y[:, :5] * 2, y[:, 5:]], 1)

    model = randomised(Net(step, wide=conv(3, 12), mid=conv(12, 6), last=conv(6, 2), relu=nn.ReLU()))
    x = images(2, 3, 8, 8)
    small = check(model, {"wide": [0, 7], "mid": [1]}, x)
    assert placed(small) == {"wide", "mid"}
    assert (small.mid.in_channels, small.mid.out_channels, small.last.in_channels) == (10, 5, 5)
    assert OUTPUTS not in small.mid._buffers


def test_places_survive_copies_pickles_and_training():
    model, x = network(heads), images(2, 3, 8, 8)
    small = prune(model, {"qkv": [0, 5, 30]}, x)
    assert torch.equal(copy.deepcopy(small)(x), small(x))
    tokens = images(2, 5, 6)
    loaded = pickle.loads(pickle.dumps(small.qkv))
    assert torch.equal(loaded(tokens), small.qkv(tokens))
    assert loaded(tokens).shape == (2, 5, 36)
    small(x).sum().backward()
    assert small.qkv.weight.grad.shape == (33, 6)
    assert {"qkv.output_places", "proj.input_places"} <= set(small.state_dict())


def test_by_hand():
    """Outputs 0 and 2 of four are left, and are read by a layer that skips channel 1."""
    layer = nn.Linear(2, 2)
    set_places(layer, torch.tensor([0, 2]), torch.tensor([0, 2, 1, 2]))
    assert read_inputs(layer, torch.tensor([[5.0, 6.0, 7.0]])).tolist() == [[5.0, 7.0]]
    assert write_outputs(layer, torch.tensor([[3.0, 4.0]])).tolist() == [[3.0, 0.0, 4.0, 0.0]]
    set_places(layer, None, None)
    x = torch.ones(1, 2)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


class Headed(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.first, self.qkv = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 36)
        self.proj, self.last = nn.Linear(12, 4), nn.Linear(4, num_classes)

    def forward(self, x):
        return self.last(heads(self, x).mean(1))


@pytest.fixture
def headed(registry):
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        return Headed(num_classes)

    models.register("headed", "attention with three heads", min_size=16)(build)
    return {"num_classes": 5, "in_channels": 3, "image_size": 16}


def test_a_network_with_places_is_rebuilt_from_its_weights(headed):
    torch.manual_seed(0)
    model, x = models.build("headed", **headed).eval(), torch.randn(2, 3, 16, 16)
    small = prune(model, {"qkv": [0, 5, 30]}, x)
    again = build_with("headed", headed, small.state_dict()).eval()
    assert torch.equal(again(x), small(x))
    assert placed(again) == {"qkv", "proj"}


DAMAGED = {
    "beyond the outputs": ("qkv.output_places", lambda t: t + 1), "negative": ("proj.input_places", lambda t: t - 20),
    "too few": ("proj.input_places", lambda t: t[1:]), "fractions": ("qkv.output_places", lambda t: t.double()),
    "of no layer": ("last.bias.output_places", lambda t: torch.arange(3)),
}  # fmt: skip


@pytest.mark.parametrize(("name", "damage"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_places_are_refused(headed, name, damage):
    small = prune(models.build("headed", **headed), {"qkv": [0, 5, 30]}, torch.zeros(1, 3, 16, 16))
    state = small.state_dict()
    with pytest.raises(CheckpointError, match="places"):
        build_with("headed", headed, state | {name: damage(state.get(name))})
