"""Random networks made of many kinds of operations: whatever is removed, the pruned network is the masked one."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from tests.trimcore.oracle import gap, images, masked, random_plan, randomised
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.tracing import trace
from trimcore.planning.minimum import keep_one_per_layer
from trimcore.surgery.cut import prune

WIDTH = 12


class Block(nn.Module):
    """One operation on maps (N, 12, h, w) of the same shape, with weights for those that need them."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.conv, self.other = nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
        self.deep = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.norm, self.groups, self.rows = nn.BatchNorm2d(WIDTH), nn.GroupNorm(3, WIDTH), nn.LayerNorm(WIDTH)
        self.linear, self.qkv, self.one = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Conv2d(2, 1, 1)
        self.lstm = nn.LSTM(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)
        self.mha, self.weight_normed = nn.MultiheadAttention(WIDTH, 3), weight_norm(nn.Conv2d(WIDTH, WIDTH, 1))
        self.flat = nn.Parameter(torch.rand(WIDTH) + 0.5)
        self.scale, self.shift = nn.Parameter(torch.rand(WIDTH, 1, 1) + 0.5), nn.Parameter(torch.rand(WIDTH, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return OPERATIONS[self.kind](self, x)


def attention(m: Block, x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    q, k, v = m.qkv(x.flatten(2).transpose(1, 2)).reshape(b, h * w, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, WIDTH)
    return x + m.linear(y).transpose(1, 2).reshape(b, WIDTH, h, w)


def written_attention(m: Block, x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    q, k, v = m.qkv(tokens).chunk(3, dim=-1)
    y = (q @ k.transpose(1, 2) / 3).softmax(-1) @ v
    return m.linear(y).transpose(1, 2).unflatten(2, x.shape[2:]) + x


def gate_of_statistics(m: Block, x: Tensor) -> Tensor:
    return x * torch.sigmoid(m.one(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))


def squeeze_excitation(m: Block, x: Tensor) -> Tensor:
    return x * torch.sigmoid(m.linear(F.relu(m.other(x)).mean((2, 3))))[:, :, None, None]


def shuffle(m: Block, x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, 3, c // 3, h, w).transpose(1, 2).reshape(b, c, h, w)


def in_place(m: Block, x: Tensor) -> Tensor:
    y = m.conv(x)
    y += x
    y *= 0.5
    return y.relu_()


def pieces_then_in_place(m: Block, x: Tensor) -> Tensor:
    y = m.conv(x)
    pieces = y.split(6, 1)
    y.add_(m.shift)
    return torch.cat([piece.relu() for piece in pieces], 1)


def filters(m: Block, x: Tensor) -> Tensor:
    """A blur of each channel, and a depthwise convolution that pads by itself."""
    blurred = F.conv2d(x, torch.ones(WIDTH, 1, 3, 3, dtype=x.dtype) / 9, padding=1, groups=x.shape[1])
    return F.conv2d(F.pad(blurred, (1, 1, 1, 1)), m.deep.weight, m.deep.bias, groups=m.deep.groups)


def norms_as_functions(m: Block, x: Tensor) -> Tensor:
    y = F.batch_norm(x, m.norm.running_mean, m.norm.running_var, m.norm.weight, m.norm.bias, m.training)
    return F.group_norm(y, m.groups.num_groups, m.groups.weight, m.groups.bias)


def heads_of_any_number(m: Block, x: Tensor) -> Tensor:
    """As Hugging Face writes it: the number of heads is computed."""
    b, c, h, w = x.shape
    q, k, v = (t.view(b, h * w, -1, 4).transpose(1, 2) for t in m.qkv(x.flatten(2).transpose(1, 2)).split(WIDTH, -1))
    y = ((q @ k.transpose(2, 3)) * 0.5).softmax(-1) @ v
    return x + m.linear(y.transpose(1, 2).flatten(2)).transpose(1, 2).unflatten(2, (h, w))


def module_of_pytorch(m: Block, x: Tensor) -> Tensor:
    tokens = x.flatten(2).movedim(2, 0)
    return x + m.mha(tokens, tokens, tokens)[0].movedim(0, 2).unflatten(2, x.shape[2:])


def columns_in_turn(m: Block, x: Tensor) -> Tensor:
    """An LSTM reads the columns of each map, from both sides."""
    return x * m.lstm(x.mean(2).transpose(1, 2))[0].transpose(1, 2)[:, :, None]


def standardised(m: Block, x: Tensor) -> Tensor:
    w = m.conv.weight
    return F.conv2d(x, (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True), m.conv.bias, padding=1)


OPERATIONS = {
    "heads of any number": heads_of_any_number,
    "attention of PyTorch": module_of_pytorch,
    "columns in turn": columns_in_turn,
    "standardised": standardised,
    "weight norm": lambda m, x: m.weight_normed(x).relu(),
    "scaled filters": lambda m, x: F.conv2d(x, m.other.weight * m.flat.view(-1, 1, 1, 1)),
    "a view of a stored tensor": lambda m, x: x * m.flat.view(1, -1, 1, 1) + m.flat[:, None, None],
    "pieces then in place": pieces_then_in_place,
    "filters": filters,
    "norms as functions": norms_as_functions,
    "statistics of the batch": lambda m, x: F.batch_norm(x, None, None, m.norm.weight, m.norm.bias, training=True),
    "reversed": lambda m, x: x.flip(1, 2),
    "rolled through all axes": lambda m, x: torch.roll(x.permute(0, 2, 3, 1), 1).permute(0, 3, 1, 2),
    "divided": lambda m, x: x / (1 + m.conv(x).abs()),
    "masked": lambda m, x: x.masked_fill(x > 1, 0.5) + torch.maximum(x, m.other(x)),
    "unfolded": lambda m, x: F.unfold(x, 1).unflatten(2, x.shape[2:]),
    "root of squares": lambda m, x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-3),
    "conv": lambda m, x: m.conv(x),
    "two convs": lambda m, x: m.other(F.relu(m.conv(x))),
    "conv as a function": lambda m, x: F.conv2d(F.pad(x, (1, 1, 1, 1)), m.conv.weight, m.conv.bias),
    "depthwise": lambda m, x: m.deep(x),
    "norm": lambda m, x: m.norm(x),
    "group norm": lambda m, x: m.groups(x),
    "layer norm": lambda m, x: m.rows(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    "relu": lambda m, x: F.relu(x),
    "gelu": lambda m, x: F.gelu(x),
    "swish": lambda m, x: x * torch.sigmoid(x),
    "sigmoid": lambda m, x: x.sigmoid(),
    "residual": lambda m, x: x + m.norm(m.conv(x)),
    "product": lambda m, x: m.conv(x) * torch.tanh(m.other(x)),
    "scaled": lambda m, x: x * m.scale,
    "shifted": lambda m, x: x + m.shift,
    "squeeze-excitation": squeeze_excitation,
    "statistics": gate_of_statistics,
    "chunks": lambda m, x: torch.cat([c.relu() for c in m.conv(x).chunk(2, 1)[::-1]], 1),
    "slices": lambda m, x: torch.cat([x[:, 5:], m.conv(x)[:, :5]], 1),
    "split": lambda m, x: torch.cat(m.other(x).split([4, 8], 1), 1).relu(),
    "uneven chunks": lambda m, x: torch.cat(x.chunk(5, 1), 1),
    "shuffle": shuffle,
    "attention": attention,
    "attention written out": written_attention,
    "softmax over positions": lambda m, x: x.flatten(2).softmax(2).view(x.shape) * x,
    "softmax over channels": lambda m, x: m.conv(x).softmax(1) * x,
    "stack and sum": lambda m, x: torch.stack([x, m.conv(x)], 1).sum(1),
    "weighted branches": lambda m, x: (torch.stack([x, m.conv(x)]) * torch.ones(2, 1, 1, 1, 1, dtype=x.dtype)).amax(0),
    "unbind": lambda m, x: torch.stack(x.unbind(2), 2),
    "pooled and resized": lambda m, x: F.interpolate(F.max_pool2d(x, 2), scale_factor=2),
    "padded": lambda m, x: F.pad(x, (1, 1, 1, 1))[:, :, 1:-1, 1:-1],
    "rolled": lambda m, x: torch.roll(x, 1, 2) + x.flip(3),
    "where": lambda m, x: torch.where(x > 0, x, m.conv(x)),
    "clamped": lambda m, x: x.clamp(-1, 1),
    "in place": in_place,
    "normalised": lambda m, x: F.normalize(x, dim=1),
}


class Chain(nn.Module):
    def __init__(self, kinds: list[str]):
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 1)
        self.blocks = nn.ModuleList(Block(kind) for kind in kinds)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def some(graph: ChannelGraph, ratio: float, seed: int) -> dict[str, list[int]]:
    """A random plan that leaves a neuron in every layer, also in those that are cut together with others."""
    return keep_one_per_layer(graph, random_plan(graph, ratio, seed), lambda name, neuron: neuron)


@given(
    kinds=st.lists(st.sampled_from(sorted(OPERATIONS)), min_size=1, max_size=5), seed=st.integers(0, 9),
    whole_heads=st.booleans(), embeddings=st.booleans(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_a_chain_of_operations_is_cut_exactly(kinds, seed, whole_heads, embeddings):
    torch.manual_seed(seed)
    model, x = randomised(Chain(kinds), seed), images(2, 3, 4, 4, seed=seed)
    graph = trace(model, x, whole_heads=whole_heads, embeddings=embeddings)
    plan = some(graph, 0.4, seed)
    with torch.no_grad():
        small = prune(model, plan, graph=graph)
        assert gap(small(x), masked(graph, plan)(x)) < 1e-9
        assert gap(model(x), masked(graph, {})(x)) < 1e-12
    again = trace(small, x, **graph.options)
    plan = some(again, 0.3, seed + 1)
    with torch.no_grad():
        assert gap(prune(small, plan, graph=again)(x), masked(again, plan)(x)) < 1e-9
