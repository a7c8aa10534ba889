"""`nn.MultiheadAttention` loses whole heads, and the channels of its stream, exactly."""

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from tests.trimcore.lost import distinct, judged
from tests.trimcore.oracle import ROUNDING, check, gap, images, random_plan, randomised
from trimcore import models
from trimcore.errors import NotTrimmable
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.layers.attention import Call, TrimmedAttention, attend
from trimcore.surgery.cut import prune
from trimcore.surgery.reconstruction import build_with, widths_of

MASK = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)


class Attending(nn.Module):
    """A linear layer, attention of four heads beside a residual connection, and a linear layer. Input (N, 5, 6)."""

    def __init__(self, ask=lambda a, z: a(z, z, z, need_weights=False)[0], **options):
        super().__init__()
        self.ask, self.first, self.last = ask, nn.Linear(6, 8), nn.Linear(8, 3)
        self.attention = nn.MultiheadAttention(8, 4, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x).relu()
        return self.last(z + self.ask(self.attention, z))


ASKED = {
    "result alone": lambda a, z: a(z, z, z, need_weights=False)[0],
    "weights that nobody reads": lambda a, z: a(z, z, z)[0],
    "a mask of places": lambda a, z: a(z, z, z, attn_mask=MASK)[0],
    "a mask that is added": lambda a, z: a(z, z, z, attn_mask=torch.linspace(-1, 1, 25).double().view(5, 5))[0],
    "padding": lambda a, z: a(z, z, z, key_padding_mask=torch.arange(5).expand(len(z), 5) > 3)[0],
}  # fmt: skip


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_heads_and_channels_of_the_stream_go(ask):
    torch.manual_seed(0)
    model, x = randomised(Attending(ask)), images(2, 5, 6)
    graph = trace(model, x, whole_heads=True)
    assert graph.heads == {"attention": [h for h in range(4) for _ in range(2)] * 3}
    head = graph.together("attention", [2])
    assert head == [2, 3, 10, 11, 18, 19]
    small = check(model, {"attention": head, "first": [0, 5]}, x, graph)
    assert isinstance(small.attention, TrimmedAttention)
    assert small.attention.in_proj_weight.shape == (18, 6)
    assert small.attention.out_proj.weight.shape == (6, 6)
    left = trace(small, x, whole_heads=True)
    smaller = check(small, random_plan(left, 0.5, 3), x, left)
    assert type(model.attention) is nn.MultiheadAttention, "the original is as it was"
    assert gap(copy.deepcopy(smaller)(x), smaller(x)) == 0


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_single_operations_compute_what_the_module_does(ask):
    torch.manual_seed(0)
    model, x = randomised(Attending(ask)), images(2, 5, 6)
    whole = model(x)
    model.attention.__class__ = TrimmedAttention
    assert gap(model(x), whole) < ROUNDING


@pytest.mark.parametrize("average", [True, False])
def test_weights_are_those_of_the_module(average):
    torch.manual_seed(0)
    attention, z = nn.MultiheadAttention(8, 4).double().eval(), images(5, 2, 8)
    found = attend(attention, Call(z, z, z, average_attn_weights=average, attn_mask=MASK))
    expected = attention(z, z, z, average_attn_weights=average, attn_mask=MASK)
    assert all(gap(*pair) < ROUNDING for pair in zip(found, expected, strict=True))


def test_by_what_the_smaller_network_has_lost():
    """Judged by its weights alone: rows of a head are gone, and zero in the full network."""
    torch.manual_seed(0)
    model, x = distinct(Attending()), images(2, 5, 6)
    graph = trace(model, x, whole_heads=True)
    verdict = judged(model, prune(model, {"attention": graph.together("attention", [0])}, graph=graph), x)
    assert (verdict.word, verdict.lost) == ("exact", 6)


def test_heads_stay_unless_they_may_go_whole():
    model, x = randomised(Attending()), images(2, 5, 6)
    graph = trace(model, x)
    assert graph.layers["attention"].reason == "it can only lose whole heads (see whole_heads)"
    assert graph.trimmable() == ["first"]
    small = check(model, {"first": [1, 2]}, x, graph)
    assert small.attention.in_proj_weight.shape == (24, 6)


REFUSED = {
    "other keys": (lambda a, z: a(z, z * 2, z)[0], {}),
    "keys with a bias": (lambda a, z: a(z, z, z)[0], {"add_bias_kv": True}),
    "a zero beside the keys": (lambda a, z: a(z, z, z)[0], {"add_zero_attn": True}),
    "a mask for each head": (lambda a, z: a(z, z, z, attn_mask=MASK.repeat(len(z) * 4, 1, 1))[0], {}),
    "weights that are read": (lambda a, z: a(z, z, z)[0] + a(z, z, z)[1].sum(-1, keepdim=True), {}),
}  # fmt: skip


@pytest.mark.parametrize(("ask", "options"), REFUSED.values(), ids=REFUSED)
def test_other_attention_is_refused_with_a_reason(ask, options):
    graph = trace(Attending(ask, **options).double(), images(2, 5, 6), whole_heads=True)
    assert "attention" not in graph.trimmable()
    reasons = {layer.reason for layer in graph.layers.values()}
    assert any("multi_head_attention_forward" in why or "reduces over channels" in why for why in reasons)


@pytest.mark.parametrize("batch_first", [True, False])
def test_encoder_layers_of_pytorch(batch_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 4, 16, batch_first=batch_first, activation="gelu")
    model, x = randomised(nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Linear(8, 3))), images(5, 4, 8)
    graph = trace(model, x, whole_heads=True)
    assert {"0.layers.0.self_attn", "0.layers.1.linear1"} <= set(graph.trimmable())
    plan = random_plan(graph, 0.4, 1)
    small = check(model, plan, x, graph)
    assert cost_of(graph, plan).parameters == sum(p.numel() for p in small.parameters())
    with torch.inference_mode():
        without_gradients = small(x)
    assert gap(small(x), without_gradients) < 1e-12


def test_a_trimmed_module_refuses_what_it_cannot_do():
    module = nn.MultiheadAttention(8, 4)
    module.__class__ = TrimmedAttention
    z = torch.zeros(5, 2, 8)
    with pytest.raises(ValueError, match="needs one batch as queries, keys and values"):
        module(z, z + 1, z)


def test_a_trimmed_network_is_saved_and_rebuilt(registry):
    class Classifier(nn.Module):
        def __init__(self, num_classes: int, in_channels: int, image_size: int):
            super().__init__()
            self.rows, self.attention = nn.Linear(in_channels * image_size, 8), nn.MultiheadAttention(8, 4)
            self.score = nn.Linear(8, num_classes)

        def forward(self, x: Tensor) -> Tensor:
            z = self.rows(x.movedim(2, 0).flatten(2)).relu()
            return self.score((z + self.attention(z, z, z)[0]).mean(0))

    models.register("attentive", "for a test", min_size=8)(Classifier)
    arguments = {"num_classes": 3, "in_channels": 3, "image_size": 8}
    torch.manual_seed(0)
    model, x = models.build("attentive", **arguments).eval(), torch.randn(2, 3, 8, 8)
    graph = trace(model, x, whole_heads=True)
    small = prune(model, {"attention": graph.together("attention", [0]), "rows": [1]}, graph=graph)
    file = io.BytesIO()
    torch.save(small.state_dict(), file)
    file.seek(0)
    again = build_with("attentive", arguments, torch.load(file, weights_only=True), widths_of(small)).eval()
    assert torch.equal(again(x), small(x))
    whole = build_with("attentive", arguments, model.state_dict())
    assert type(whole.attention) is nn.MultiheadAttention


def test_a_plan_of_single_neurons_is_refused():
    graph = trace(Attending().double(), images(2, 5, 6))
    with pytest.raises(NotTrimmable, match="it can only lose whole heads"):
        prune(graph.model, {"attention": [0]}, graph=graph)
