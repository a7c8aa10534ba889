"""Latency with a clock that the networks advance themselves, so every median can be computed by hand."""

import pytest
import torch
from torch import nn

from trimcore.errors import TrimError
from trimcore.timing import turns as module
from trimcore.timing.latency import BaselineTimer, Latency, compare_latency, latency

EXAMPLE = torch.arange(6.0).reshape(1, 2, 3)


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


class Slow(nn.Module):
    """Advances the clock by the given seconds per pass, the last value repeating, and records name and input shape."""

    def __init__(self, name: str, clock: Clock, passes: list, *seconds: float):
        super().__init__()
        self.name, self.clock, self.passes, self.seconds = name, clock, passes, list(seconds)
        self.drop = nn.Dropout()

    def forward(self, x):
        assert not self.training
        assert not torch.is_grad_enabled()
        self.clock.now += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        self.passes.append((self.name, tuple(x.shape)))
        assert torch.equal(x, EXAMPLE.expand(len(x), 2, 3))
        return x


def test_medians_of_turns_after_the_warm_up(clock):
    """Warm-up passes of 9 s do not count. The median of 1, 5, 2, 2, 30 is 2; that of 1, 1, 1, 4, 4 is 1."""
    passes = []
    before = Slow("before", clock, passes, 9, 9, 1, 5, 2, 2, 30)
    after = Slow("after", clock, passes, 9, 9, 1, 1, 1, 4, 4)
    (row,) = compare_latency(before, after, EXAMPLE, [4], rounds=5, limit_seconds=1000)
    assert row == Latency(4, 2000.0, 1000.0)
    assert row.ratio == 2.0
    assert passes == [("before", (4, 2, 3)), ("after", (4, 2, 3))] * 7


def test_each_batch_is_a_row_and_only_the_first_example_is_repeated(clock):
    passes = []
    nets = [Slow(name, clock, passes, 1) for name in ("before", "after")]
    example = torch.cat([EXAMPLE, torch.full((1, 2, 3), torch.nan)])
    rows = compare_latency(*nets, example, (1, 128), rounds=1)
    assert [row.batch for row in rows] == [1, 128]
    assert {shape[0] for _, shape in passes} == {1, 128}


@pytest.mark.parametrize(
    ("limit", "turns", "median"),
    [(100.0, 2 + 20, 3.0), (30.0, 10, 3.0), (1.0, 1, 3.0), (0.0, 1, 3.0), (4.0, 2, 3.0)],
    ids=["all rounds", "until the limit", "one turn", "no time", "warm-up only"],
)  # fmt: skip
def test_the_time_limit_ends_the_turns_after_at_least_one(clock, limit, turns, median):
    passes = []
    assert latency(Slow("only", clock, passes, 3), EXAMPLE, limit_seconds=limit) == median * 1000
    assert len(passes) == turns


def test_if_only_the_warm_up_fits_its_last_turn_counts(clock):
    assert latency(Slow("only", clock, [], 8, 5), EXAMPLE, limit_seconds=9) == 5000


def test_modes_and_gradients_are_restored_even_after_an_error(clock):
    class Broken(nn.Module):
        def forward(self, x):
            raise ArithmeticError

    one = Slow("one", clock, [], 1)
    one.drop.eval()
    for other in (Slow("two", clock, [], 1), Broken()):
        try:
            compare_latency(one, other, EXAMPLE, [2], rounds=2)
        except ArithmeticError:
            assert isinstance(other, Broken)
        assert one.training
        assert not one.drop.training
        assert other.training
        assert torch.is_grad_enabled()


def test_a_network_can_be_compared_with_itself():
    net = nn.Linear(3, 3)
    (row,) = compare_latency(net, net, EXAMPLE, [2], rounds=1)
    assert row.before_ms > 0
    assert net.training


def test_batch_sizes_and_rounds_below_one_are_refused():
    with pytest.raises(TrimError, match="a batch size of 1 or more, not 0"):
        compare_latency(nn.Identity(), nn.Identity(), EXAMPLE, [0])
    with pytest.raises(TrimError, match="1 round or more, not 0"):
        latency(nn.Identity(), EXAMPLE, rounds=0)


# --- against the base of a run


def test_the_base_is_built_once_without_changing_the_runs_random_numbers(clock):
    built, passes = [], []

    def build():
        torch.rand(5)
        built.append(Slow("base", clock, passes, 6))
        return built[-1]

    timer = BaselineTimer(build, EXAMPLE)
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    columns = timer.columns(Slow("now", clock, passes, 3), 16)
    assert torch.equal(torch.rand(3), wanted)
    assert columns == {
        "latency_ms": 3000.0, "latency_ratio": 2.0, "latency_1_ms": 3000.0, "latency_1_ratio": 2.0,
    }  # fmt: skip
    assert timer.columns(Slow("now", clock, passes, 2), 16)["latency_ratio"] == 3.0
    assert len(built) == 1


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(
    "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")])  # fmt: skip
def test_without_memory_for_the_base_the_ratios_are_empty(clock, error):
    def build():
        raise error

    assert BaselineTimer(build, EXAMPLE).columns(Slow("now", clock, [], 3), 16) == {
        "latency_ms": 3000.0, "latency_ratio": None, "latency_1_ms": 3000.0, "latency_1_ratio": None,
    }  # fmt: skip


def test_a_base_that_only_fits_one_example_is_compared_on_one(clock):
    class Large(Slow):
        def forward(self, x):
            if len(x) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(x)

    assert BaselineTimer(lambda: Large("base", clock, [], 6), EXAMPLE).columns(Slow("now", clock, [], 3), 16) == {
        "latency_ms": 3000.0, "latency_ratio": None, "latency_1_ms": 3000.0, "latency_1_ratio": 2.0,
    }  # fmt: skip


def test_other_errors_are_not_hidden(clock):
    def build():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        BaselineTimer(build, EXAMPLE).columns(Slow("now", clock, [], 3), 16)
