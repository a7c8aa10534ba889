"""Runs that remove attention heads whole, and channels of a normalised stream."""

import pytest
from torch import Tensor, nn

from tests.trimcore.training.runs import assert_resumes_identically, carry_out, of_kind, step
from trimcore import models, tables


class Rows(nn.Module):
    """Attention of four heads over the rows of an image, and a recurrent layer. The stream has 8 channels."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int):
        super().__init__()
        self.rows, self.norm = nn.Linear(in_channels * image_size, 8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 4, dropout=0.1, batch_first=True)
        self.last, self.rnn, self.head = nn.LayerNorm(8), nn.GRU(8, 6, batch_first=True), nn.Linear(6, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.rows(x.movedim(2, 1).flatten(2))
        y = self.norm(x)
        return self.head(self.rnn(self.last(x + self.attention(y, y, y)[0]))[0][:, -1])


@pytest.fixture
def rows(registry) -> str:
    models.register("rows", "for a test", min_size=4)(Rows)
    return "rows"


STEPS = [
    step("attention", rule="fraction", value=0.25, criterion="l1"),
    step("rows", "rnn", rule="count", value=2, criterion="taylor"),
]


def test_a_run_removes_heads_channels_of_the_stream_and_hidden_units(make_spec, rows):
    events, _, made = carry_out(make_spec(model=rows, whole_heads=True, embeddings=True, step=STEPS))
    first, second = of_kind(events, "pruned")
    gone = first["layers"]["attention"]["cut"]  # a quarter of 24 neurons: one head
    assert gone == [start + gone[0] + i for start in (0, 8, 16) for i in range(2)]
    assert (first["layers"]["attention"]["heads"], list(second["layers"])) == (1, ["rows", "rnn"])
    seen = of_kind(events, "profiled")[0]["layers"]
    assert seen["attention"]["heads"] == [h for h in range(4) for _ in range(2)] * 3
    assert set(seen["rows"]["apoz"]) == {None}
    assert "attention −6 (1 head)" in list(tables.cuts(events).label)
    last = made[max(made)].build()
    assert (last.norm.normalized_shape, last.rnn.input_size, last.rnn.hidden_size) == ((6,), 6, 4)
    assert last.attention.in_proj_weight.shape[1] == 6


def test_such_a_run_resumes_bit_identical(make_spec, rows):
    spec = make_spec(model=rows, whole_heads=True, embeddings=True, step=STEPS, base={"epochs": 1})
    assert_resumes_identically(spec)


def test_without_the_keys_heads_and_stream_stay(make_spec, rows):
    spec = make_spec(model=rows, step=[step("all", value=1, criterion="l1")])
    events, _, made = carry_out(spec)
    assert list(of_kind(events, "profiled")[0]["layers"]) == ["rnn"]
    assert made[max(made)].build().rnn.hidden_size == 5
