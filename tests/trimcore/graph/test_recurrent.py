"""Hidden units of recurrent layers are removed exactly, or refused with a reason."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from tests.trimcore.oracle import ROUNDING, check, gap, images, random_plan, randomised
from trimcore.errors import NotTrimmable
from trimcore.evaluation.masking import MaskedNetwork
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.scoring.apoz import profile
from trimcore.scoring.criteria import scores
from trimcore.surgery.cut import prune

FORMS = list(itertools.product((nn.RNN, nn.LSTM, nn.GRU), (1, 2), (False, True), (False, True)))


class Reader(nn.Module):
    """Linear, recurrent, linear: reads a sequence (N, steps, 5) and uses every result of the recurrent layer."""

    def __init__(self, kind: type[nn.RNNBase], layers: int = 1, both: bool = False, batch_first: bool = True):
        super().__init__()
        self.first = nn.Linear(5, 8)
        self.rnn = kind(8, 6, layers, batch_first=batch_first, bidirectional=both)
        self.score = nn.Linear(6 * (1 + both), 3)
        self.of_state = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        output, state = self.rnn(x if self.rnn.batch_first else x.transpose(0, 1))
        states = state if isinstance(state, tuple) else (state,)
        last = output[:, -1] if self.rnn.batch_first else output[-1]
        return self.score(last) + sum(self.of_state(one[-1]) for one in states)


@pytest.mark.parametrize(("kind", "layers", "both", "batch_first"), FORMS)
def test_units_that_are_removed_equal_units_with_dead_gates(kind, layers, both, batch_first):
    network = randomised(Reader(kind, layers, both, batch_first))
    x = images(2, 7, 5)
    graph = trace(network, x)
    assert graph.trimmable() == ["first", "rnn"]
    plan = {"first": [1, 6], "rnn": [0, 4]}
    small = check(network, plan, x, graph)
    assert (small.rnn.hidden_size, small.rnn.input_size) == (4, 6)
    gates = {nn.RNN: 1, nn.LSTM: 4, nn.GRU: 3}[kind]
    assert small.rnn.weight_ih_l0.shape == (gates * 4, 6)
    again = check(small, {"rnn": [2]}, x)  # and once more
    assert again.rnn.hidden_size == 3


@pytest.mark.parametrize(("kind", "layers", "both", "batch_first"), FORMS)
def test_masking_holds_units_at_every_step(kind, layers, both, batch_first):
    network = randomised(Reader(kind, layers, both, batch_first))
    x, plan = images(2, 7, 5), {"rnn": [0, 4]}
    graph = trace(network, x)
    masked = MaskedNetwork(graph)
    with torch.no_grad():
        assert torch.equal(masked.network(x), network(x))
        masked.mask(plan)
        assert gap(masked.network(x), prune(network, plan, graph=graph)(x)) < ROUNDING
        masked.mask({})
        assert torch.equal(masked.network(x), network(x))


def test_a_relu_behind_does_not_hold_what_the_next_step_has_read():
    class Rectified(Reader):
        def forward(self, x: Tensor) -> Tensor:
            return self.score(self.rnn(self.first(x).relu())[0].relu().mean(1))

    network, x = randomised(Rectified(nn.LSTM)), images(2, 7, 5)
    graph = trace(network, x)
    check(network, {"rnn": [1, 5]}, x, graph)
    found = profile(network, [x], graph=graph)["rnn"]
    assert found.totals.tolist() == [14] * 6  # the ReLU is counted all the same


def test_costs_of_a_recurrent_layer():
    graph = trace(Reader(nn.GRU), torch.zeros(1, 7, 5))
    cost = cost_of(graph).layers["rnn"]
    assert (cost.kind, cost.width, cost.parameters) == ("recurrent", 6, 3 * 6 * (8 + 6 + 2))
    assert cost.macs == 7 * 3 * 6 * (8 + 6)
    smaller = cost_of(graph, {"rnn": [0], "first": [2, 3]}).layers["rnn"]
    assert (smaller.width, smaller.parameters, smaller.macs) == (5, 3 * 5 * (6 + 5 + 2), 7 * 3 * 5 * (6 + 5))


def test_the_l1_norm_of_a_unit_is_that_of_its_rows_in_all_gates():
    network = randomised(Reader(nn.LSTM))
    graph = trace(network, images(2, 7, 5))
    found = scores("l1", profile(network, [images(2, 7, 5)], graph=graph), graph)["rnn"]
    rows = torch.cat([network.rnn.weight_ih_l0, network.rnn.weight_hh_l0], 1).detach().abs().sum(1).view(4, 6).sum(0)
    assert torch.allclose(-found, rows)


class Given(Reader):
    def forward(self, x: Tensor) -> Tensor:
        first = x.new_ones(1, len(x), 6)
        return self.score(self.rnn(self.first(x).relu(), first)[0][:, -1])


class Projected(Reader):
    def __init__(self):
        super().__init__(nn.LSTM)
        self.rnn = nn.LSTM(8, 9, proj_size=6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.rnn(self.first(x).relu())[0][:, -1])


@pytest.mark.parametrize(("network", "reason"), [
    (Given(nn.GRU), "rnn gets its first hidden state from outside"), (Projected(), "rnn projects its hidden state"),
])  # fmt: skip
def test_units_that_cannot_go_have_a_reason_and_inputs_still_go(network, reason):
    network, x = randomised(network), images(2, 7, 5)
    graph = trace(network, x)
    assert graph.layers["rnn"].reason == reason
    with pytest.raises(NotTrimmable, match=reason):
        prune(network, {"rnn": [0]}, graph=graph)
    small = check(network, random_plan(graph, 0.3, seed=1), x, graph)
    assert small.rnn.input_size == 6


def test_a_parametrized_recurrent_layer_is_refused_with_a_reason():
    network = Reader(nn.LSTM)
    nn.utils.parametrizations.weight_norm(network.rnn, "weight_hh_l0")
    graph = trace(network, torch.zeros(2, 7, 5))
    assert "parametrization" in graph.layers["rnn"].reason


def test_columns_of_an_embedding_go_with_what_reads_them():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.rnn, self.score = nn.Embedding(20, 8), nn.GRU(8, 6, batch_first=True), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.score(self.rnn(self.words(x))[0][:, -1])

    torch.manual_seed(0)
    network, x = randomised(Words()), torch.randint(20, (2, 7))
    graph = trace(network, x)
    assert graph.layers["words"].kind == "embedding"
    small = check(network, {"words": [0, 5], "rnn": [2]}, x, graph)
    assert (small.words.embedding_dim, small.words.weight.shape, small.rnn.input_size) == (6, (20, 6), 6)
    cost = cost_of(graph, {"words": [0, 5]}).layers["words"]
    assert (cost.parameters, cost.macs, cost.width) == (120, 0, 6)
    network.words.max_norm = 1.0  # it changes its weights
    graph = trace(network, x)
    assert graph.trimmable() == ["rnn"]
