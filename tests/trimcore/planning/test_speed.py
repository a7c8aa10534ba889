"""Targets in milliseconds, with a device whose time is known: it computes 16 channels at once."""

import math
from dataclasses import dataclass, field

import pytest
import torch

from tests.trimcore.planning.test_targets import perceptron, seen
from trimcore.errors import SpecError
from trimcore.graph.costs import cost_of
from trimcore.planning.sensitivity import Point, Sensitivity
from trimcore.planning.targets import Accuracy, Faster, LessWork, Smaller, Within, propose


@dataclass
class Tables:
    saved: int = 0

    def save(self) -> None:
        self.saved += 1


@dataclass
class Device:
    """Time is the sum, over layers, of inputs times outputs, each rounded up to `block`, plus 100. The clock disagrees
    by the factor `slower`. Interpolation does not see the blocks."""

    graph: object
    block: int = 16
    slower: float = 1.0
    tables: Tables = field(default_factory=Tables)

    @property
    def base_ms(self) -> float:
        return self.without(torch.zeros(self.graph.group_count, dtype=torch.bool), exact=True)

    def without(self, removed, exact=False) -> float:
        block = self.block if exact else 1
        sizes = self.graph.fine.sizes(removed).values()
        return 100.0 + sum(math.prod(-(-n // block) * block for n in own.values()) for own in sizes if "in" in own)

    def measure(self, removed) -> float:
        changed = bool(removed.any())
        return self.without(removed, exact=True) * (self.slower if changed else 1.0)


def removed_by(graph, plan):
    mask = torch.zeros(graph.group_count, dtype=torch.bool)
    for name, neurons in plan.items():
        mask[graph.layers[name].neurons[list(neurons)]] = True
    return mask


def widths(graph, plan) -> list[int]:
    found = cost_of(graph, plan).widths
    return [found[name] for name in plan]


@pytest.mark.parametrize("times", [1.5, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("aware", [False, True])
def test_the_clock_decides(times, aware):
    graph, found = perceptron(64, 96, 128, 10)
    device = Device(graph)
    plan = propose(graph, found, Faster(times), cost_aware=aware, time=device)
    assert device.measure(removed_by(graph, plan)) * times <= device.base_ms
    if plan.total:
        assert all(width % 16 == 0 for width in widths(graph, plan))  # what saves no time is kept
        assert device.tables.saved


@pytest.mark.parametrize("times", [1.5, 3.0])
def test_milliseconds_are_the_same_as_a_factor(times):
    graph, found = perceptron(64, 96, 128, 10)
    device = Device(graph)
    by_factor = propose(graph, found, Faster(times), time=device)
    assert propose(graph, found, Within(device.base_ms / times), time=device) == by_factor
    assert propose(graph, found, Within(2 * device.base_ms), time=device).total == 0


@pytest.mark.parametrize("slower", [1.1, 1.25])
def test_a_prediction_that_was_too_low_is_corrected(slower):
    graph, found = perceptron(64, 96, 128, 10)
    exact, wrong = Device(graph, block=1), Device(graph, block=1, slower=slower)
    plan, more = (propose(graph, found, Faster(3.0), time=device) for device in (exact, wrong))
    assert wrong.measure(removed_by(graph, more)) * 3 <= wrong.base_ms
    assert wrong.measure(removed_by(graph, plan)) * 3 > wrong.base_ms
    assert set(plan["fc0"]) <= set(more["fc0"])


@pytest.mark.parametrize("slower", [0.9, 0.6])
def test_a_prediction_that_was_too_high_is_corrected(slower):
    """The clock finds the network faster than predicted, so fewer neurons go than the prediction asks for."""
    graph, found = perceptron(64, 96, 128, 10)
    exact, wrong = Device(graph, block=1), Device(graph, block=1, slower=slower)
    plan, fewer = (propose(graph, found, Faster(3.0), time=device) for device in (exact, wrong))
    assert fewer.total < plan.total
    assert 0.9 * wrong.base_ms / 3 < wrong.measure(removed_by(graph, fewer)) <= wrong.base_ms / 3


def test_a_floor_that_only_the_prediction_sees_does_not_empty_the_network():
    """No prediction is within the limit, because tiny layers are said to take longer than they do."""
    graph, found = perceptron(64, 96, 128, 10)

    class Floor(Device):
        def without(self, removed, exact=False):
            value = super().without(removed, exact)
            return max(value, 0.6 * self.base_ms) if exact and bool(removed.any()) else value

        def measure(self, removed):
            return Device.without(self, removed, exact=True)

    device = Floor(graph, block=1)
    plan = propose(graph, found, Faster(3.0), time=device)
    assert 0.8 * device.base_ms / 3 < device.measure(removed_by(graph, plan)) <= device.base_ms / 3


def test_no_more_goes_than_the_time_needs():
    """Without blocks, the plan without the last neuron of a layer would be too slow for the limit and its margin."""
    graph, found = perceptron(64, 96, 128, 10)
    device = Device(graph, block=1)
    plan = propose(graph, found, Faster(2.0), time=device)
    fewer = {name: list(neurons) for name, neurons in plan.items()}
    last = min((float(found[name].apoz[i]), name, i) for name, neurons in plan.items() for i in neurons)
    fewer[last[1]].remove(last[2])
    assert device.measure(removed_by(graph, fewer)) > 0.98 * device.base_ms / 2


def test_a_speed_that_the_clock_never_finds_is_refused():
    graph, found = perceptron(64, 96, 128, 10)

    class Stubborn(Device):
        def measure(self, removed):
            return max(self.base_ms / 1.5, super().measure(removed))

    with pytest.raises(SpecError, match="was not reached: the fastest network that was timed .* 1.50 times faster"):
        propose(graph, found, Faster(3.0), time=Stubborn(graph, block=1))


def test_a_wish_that_cannot_come_true_names_the_fastest():
    """The clock decides; without it, the prediction does. It sees no blocks of 16 channels."""
    graph, found = perceptron(64, 96, 128, 10)
    device = Device(graph)
    least = 100 + 64 + 1 + 10  # one neuron in each layer
    most = math.floor(1000 * device.without(torch.zeros(graph.group_count, dtype=torch.bool)) / least) / 1000
    with pytest.raises(SpecError, match=f"500 times faster is not predicted .* maximum is {most:g} times .175 ms"):
        propose(graph, found, Faster(500), time=device, by_clock=False)
    with pytest.raises(SpecError, match="at most 1 ms is not predicted to be possible"):
        propose(graph, found, Within(1), time=device, by_clock=False)
    timed = device.base_ms / (100 + 64 * 16 + 16 * 16 + 16 * 16)
    for wish in (Faster(500), Within(1)):
        with pytest.raises(SpecError, match=f"was not reached: the fastest .* {timed:.2f} times faster"):
            propose(graph, found, wish, time=device)


def test_the_clock_may_find_what_no_prediction_promises():
    graph, found = perceptron(64, 96, 128, 10)

    class Careful(Device):
        def without(self, removed, exact=False):
            return max(0.5 * 19812.0, super().without(removed, exact))

        def measure(self, removed):
            return Device.without(self, removed, exact=True)

    device = Careful(graph, block=1)
    with pytest.raises(SpecError, match="not predicted"):
        propose(graph, found, Faster(3.0), time=device, by_clock=False)
    assert device.measure(removed_by(graph, propose(graph, found, Faster(3.0), time=device))) <= 19812.0 / 3


def test_several_targets_are_met_together():
    graph, found = perceptron(64, 96, 128, 10)
    device = Device(graph)
    whole = cost_of(graph)
    for smaller, faster in ((1.2, 4.0), (6.0, 1.5), (3.0, 3.0)):
        plan = propose(graph, found, [Smaller(smaller), Faster(faster)], cost_aware=True, time=device)
        assert cost_of(graph, plan).parameters * smaller <= whole.parameters
        assert device.measure(removed_by(graph, plan)) * faster <= device.base_ms
    both = propose(graph, found, [Smaller(2), LessWork(3)])
    left = cost_of(graph, both)
    assert left.parameters * 2 <= whole.parameters
    assert left.macs * 3 <= whole.macs


def flat(found, layers: dict[str, float]) -> Sensitivity:
    """Each layer loses this much at half of its width, in a straight line."""
    points = [
        Point(name, share, int(share * found[name].width), 0.9 - loss * 2 * (1 - share))
        for name, loss in layers.items()
        for share in (1.0, 0.5)
    ]
    return Sensitivity(100, 0.9, points)


def test_an_accuracy_beside_another_target_is_a_limit():
    graph, found = perceptron(64, 96, 128, 10)
    mild = flat(found, {"fc0": 0.01, "fc1": 0.02})
    plan = propose(graph, found, [Smaller(1.5), Accuracy(0.8)], sensitivity=mild, cost_aware=True)
    assert plan == propose(graph, found, Smaller(1.5), sensitivity=mild, cost_aware=True)
    steep = flat(found, {"fc0": 0.4, "fc1": 0.4})
    with pytest.raises(SpecError, match="cannot be met together: accuracy before retraining would be 0.[0-9]+"):
        propose(graph, found, [Smaller(1.5), Accuracy(0.8)], sensitivity=steep)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([], "at least one target"), ([Smaller(2), Smaller(3)], "each kind of target once"), (Faster(2), "time model"),
        (Faster(0.5), "Faster times = 0.5: it must be at least 1"), (Within(0), "Within ms = 0: it must be above 0"),
    ],
)  # fmt: skip
def test_invalid_wishes_are_refused(targets, message):
    graph, found = perceptron(8, 8, 8, 2)
    with pytest.raises(SpecError, match=message):
        propose(graph, found, targets)


@pytest.mark.parametrize("name", ["residual", "dense", "depthwise", "maxouts", "branches"])
def test_every_kind_of_network_can_be_asked(name):
    graph, found = seen(name)
    device = Device(graph, block=2)
    plan = propose(graph, found, Faster(1.2), time=device)
    assert device.measure(graph.to_fine(removed_by(graph, plan))) * 1.2 <= device.base_ms
