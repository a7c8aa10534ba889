"""Heads of attention: which neurons belong to one, and that they can be removed whole."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.trimcore.oracle import check, images, random_plan, randomised
from trimcore.graph.tracing import trace

D, H, E = 12, 3, 4  # channels, heads, channels of a head


def fused(m, x):
    b, n, d = x.shape
    q, k, v = m.qkv(x).reshape(b, n, 3, H, d // H).permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(q, k, v)


def separate(m, x):
    q, k, v = (layer(x).unflatten(-1, (H, E)).transpose(1, 2) for layer in (m.q, m.k, m.v))
    return F.scaled_dot_product_attention(q, k, v)


def written_out(m, x):
    q, k, v = (layer(x).unflatten(-1, (H, E)).transpose(1, 2) for layer in (m.q, m.k, m.v))
    weights = m.drop((q @ k.transpose(-2, -1) * E**-0.5 + m.bias).softmax(-1))
    return weights @ v


def linear_attention(m, x):
    q, k, v = (layer(x).unflatten(-1, (H, E)).transpose(1, 2) for layer in (m.q, m.k, m.v))
    return q @ (k.transpose(-2, -1).softmax(-1) @ v)


def grouped(m, x):
    """Three heads of queries share one head of keys and values, which is repeated."""
    q = m.q(x).unflatten(-1, (H, E)).transpose(1, 2)
    k, v = (layer(x).unflatten(-1, (1, E)).transpose(1, 2).repeat_interleave(H, 1) for layer in (m.k1, m.v1))
    return F.scaled_dot_product_attention(q, k, v)


class Attending(nn.Module):
    def __init__(self, attend):
        super().__init__()
        self.attend, self.first, self.qkv, self.proj = attend, nn.Linear(5, D), nn.Linear(D, 3 * D), nn.Linear(D, 4)
        self.q, self.k, self.v = (nn.Linear(D, D) for _ in range(3))
        self.k1, self.v1 = nn.Linear(D, E), nn.Linear(D, E)
        self.bias, self.drop = nn.Parameter(torch.randn(1, H, 7, 7)), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.attend(self, self.first(x).tanh())
        return self.proj(y.transpose(1, 2).flatten(2))


def by_head(*layers):
    return {layer: [h for h in range(H) for _ in range(E)] for layer in layers}


FORMS = {  # attention, layer -> the number of its neurons that go with neuron 0
    "fused": (fused, {"qkv": 3 * E}), "separate": (separate, {"q": E, "k": E, "v": E}),
    "written out": (written_out, {"q": E, "k": E, "v": E}), "linear": (linear_attention, {"q": E, "k": E, "v": E}),
}  # fmt: skip


@pytest.mark.parametrize(("attend", "of_head"), FORMS.values(), ids=FORMS)
def test_a_head_goes_with_its_queries_keys_and_values(attend, of_head):
    torch.manual_seed(0)
    model, x = randomised(Attending(attend)), images(2, 7, 5)
    graph = trace(model, x, whole_heads=True)
    (leader, *tied) = of_head
    assert graph.layers[leader].tied == tied
    assert {name: len(graph.together(name, [0])) for name in of_head} == of_head
    for name in of_head:
        assert graph.heads[name] == by_head(name)[name] * (3 if name == "qkv" else 1)
    second = [i for i, head in enumerate(graph.heads[leader]) if head == 1]
    assert graph.together(leader, second[:1]) == second
    small = check(model, {leader: second}, x, graph)
    own = small.get_submodule(leader)
    assert own.out_features == graph.layers[leader].width - len(second)
    assert small.proj.in_features == (D if attend is linear_attention else D - E)  # what it sums has no channels
    left = trace(small, x, whole_heads=True)
    check(small, random_plan(left, 0.5, 1, [leader]), x, left)


@pytest.mark.parametrize("attend", [separate, written_out, linear_attention])
def test_neurons_go_one_by_one_unless_heads_are_whole(attend):
    graph = trace(Attending(attend).double(), images(2, 7, 5))
    assert [graph.together(name, [0]) for name in "qkv"] == [[0]] * 3
    assert {name: graph.heads[name] for name in "qkv"} == by_head(*"qkv")


def test_heads_whose_size_follows_the_stream_lose_the_same_positions():
    """One position of each of three heads, for queries, keys and values."""
    graph = trace(Attending(fused).double(), images(2, 7, 5))
    assert graph.together("qkv", [0]) == list(range(0, 3 * D, E))


def biased(m, x):
    """Heads whose number is computed, and a bias for each of them, which is not cut."""
    q, k, v = (layer(x).unflatten(-1, (-1, E)).transpose(1, 2) for layer in (m.q, m.k, m.v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=m.bias)


def unbiased(m, x):
    q, k, v = (layer(x).unflatten(-1, (-1, E)).transpose(1, 2) for layer in (m.q, m.k, m.v))
    weights = (q @ k.transpose(-2, -1) * E**-0.5 + m.bias).softmax(-1)
    return weights @ v


@pytest.mark.parametrize(("attend", "rows"), [(biased, H), (unbiased, H - 1)])
def test_a_bias_for_each_head(attend, rows):
    """Where it is added, it is cut with the heads; where it is a mask, the queries keep their places."""
    torch.manual_seed(0)
    model, x = randomised(Attending(attend)), images(2, 7, 5)
    small = check(model, {"q": trace(model, x).together("q", [E])}, x)
    assert small.bias.shape == (1, rows, 7, 7)
    assert (small.q.out_features, small.proj.in_features) == (D - E, D if attend is biased else D - E)


def test_heads_that_share_keys_and_values_go_together():
    graph = trace(Attending(grouped).double(), images(2, 7, 5), whole_heads=True)
    assert graph.heads["k1"] == [0] * E
    assert set(graph.together("k1", [0])) == set(range(E))
    assert graph.layers["q"].neurons.unique().tolist() == graph.layers["k1"].neurons.unique().tolist()


def test_a_network_without_attention_has_no_heads():
    assert trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)), torch.zeros(1, 3, 8, 8)).heads == {}
