"""Channels of normalised streams, which are left out of mean and variance when they are removed."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.trimcore.oracle import ROUNDING, check, gap, images, random_plan, randomised
from trimcore.errors import NotTrimmable
from trimcore.evaluation.masking import MaskedNetwork
from trimcore.graph.summary import trimmable_text
from trimcore.graph.tracing import trace
from trimcore.surgery.cut import prune

D = 12


class ChannelsFirst(nn.LayerNorm):
    """A LayerNorm for images, called as a function."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A residual block of a transformer: normalised attention without heads, and a normalised perceptron."""

    def __init__(self, norm=nn.LayerNorm):
        super().__init__()
        self.norm1, self.norm2 = norm(D), norm(D)
        self.qkv, self.proj = nn.Linear(D, 3 * 8), nn.Linear(8, D)
        self.fc1, self.fc2, self.scale = nn.Linear(D, 10), nn.Linear(10, D), nn.Parameter(torch.linspace(0.5, 1.5, D))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).split(8, -1)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)))) * self.scale.view(1, 1, -1)


class Tokens(nn.Module):
    """Patches, a class token, positions, two blocks, a norm and a classifier. Images (N, 3, 8, 8)."""

    def __init__(self, norm=nn.LayerNorm):
        super().__init__()
        self.patches, self.norm, self.head = nn.Conv2d(3, D, 4, 4), norm(D), nn.Linear(D, 4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, D)), nn.Parameter(torch.randn(1, 5, D))
        self.blocks = nn.Sequential(Block(norm), Block(norm))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


class Images(nn.Module):
    """A convolutional stream with a norm over all channels. Images (N, 3, 8, 8)."""

    def __init__(self, norm):
        super().__init__()
        self.first, self.norm, self.deep = nn.Conv2d(3, D, 3, padding=1), norm(), nn.Conv2d(D, D, 3, 1, 1, groups=D)
        self.up, self.down, self.last = nn.Conv2d(D, 8, 1), nn.Conv2d(8, D, 1), norm()
        self.head = nn.Linear(D, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        x = x + self.down(F.gelu(self.up(self.deep(x))))
        return self.head(self.last(x).mean((2, 3)))


NETWORKS = {
    "layer norm": (Tokens, "patches"), "rms norm": (lambda: Tokens(nn.RMSNorm), "patches"),
    "without weights": (lambda: Tokens(lambda n: nn.LayerNorm(n, elementwise_affine=False)), "patches"),
    "called as a function": (lambda: Images(lambda: ChannelsFirst(D)), "first"),
    "group norm of one group": (lambda: Images(lambda: nn.GroupNorm(1, D)), "first"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "stream"), NETWORKS.values(), ids=NETWORKS)
def test_the_pruned_network_is_the_masked_one_without_the_channels_in_its_statistics(make, stream):
    torch.manual_seed(0)
    model, x = randomised(make()), images(2, 3, 8, 8)
    assert stream not in trace(model, x).trimmable()
    graph = trace(model, x, embeddings=True)
    assert len(graph.candidates(stream)) == D
    small = check(model, {stream: [0, 3, 11]}, x, graph)
    assert small.norm(torch.ones(1, D - 3, D - 3, D - 3).double()).shape[1] == D - 3
    assert {len(p) for name, p in small.named_parameters() if "norm" in name} <= {D - 3}
    plan = random_plan(graph, 0.4, 1)
    smaller = check(model, plan, x, graph)
    check(smaller, random_plan(trace(smaller, x, embeddings=True), 0.3, 2), x, trace(smaller, x, embeddings=True))


@pytest.mark.parametrize(("make", "stream"), NETWORKS.values(), ids=NETWORKS)
def test_masking_leaves_the_channels_out_of_the_statistics(make, stream):
    torch.manual_seed(0)
    model, x, plan = randomised(make()), images(2, 3, 8, 8), {stream: [0, 3, 11]}
    graph = trace(model, x, embeddings=True)
    masked = MaskedNetwork(graph)
    with torch.no_grad():
        assert gap(masked.network(x), model(x)) < ROUNDING
        masked.mask(plan)
        assert gap(masked.network(x), prune(model, plan, graph=graph)(x)) < ROUNDING
        masked.mask({})
        assert gap(masked.network(x), model(x)) < ROUNDING


def test_all_but_a_few_are_not_called_all():
    """400 of 401 neurons: 99.75 % is not 100 %."""
    model = nn.Sequential(nn.Linear(3, 400), nn.LayerNorm(400), nn.Linear(400, 1))
    text = trimmable_text(trace(model, torch.zeros(2, 3), embeddings=True))
    assert text.startswith("More than 99 % of the neurons can be removed; most of the rest")


def test_by_hand():
    """Of (1, 2, 6) without the 6, the mean is 1.5 and the variance 0.25: 2 becomes 1 and 1 becomes -1."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.LayerNorm(3, eps=0), nn.Linear(3, 2, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3))
        model[2].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
    x = torch.tensor([[1.0, 2, 6]]).double()
    small = prune(model, {"0": [2]}, graph=trace(model, x, embeddings=True))
    assert small(x).tolist() == [[-1, 1]]


def test_a_stream_that_is_read_without_a_norm_is_refused_with_the_reason():
    class Raw(Tokens):
        def forward(self, x: Tensor) -> Tensor:
            x = self.patches(x).flatten(2).transpose(1, 2)
            return self.head(self.norm(x + self.places[:, 1:])[:, 0]) + self.head(x[:, 0] + self.places[0, 0])

    graph = trace(Raw().double(), images(2, 3, 8, 8), embeddings=True)
    assert graph.layers["patches"].reason
    with pytest.raises(NotTrimmable, match="patches"):
        prune(graph.model, {"patches": [0]}, graph=graph)


def test_a_norm_over_a_written_length_is_refused():
    class Written(Tokens):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.layer_norm(self.patches(x).flatten(2).transpose(1, 2), (D,)).mean(1))

    graph = trace(Written().double(), images(2, 3, 8, 8), embeddings=True)
    assert "normalises over all channels together" in graph.layers["patches"].reason
