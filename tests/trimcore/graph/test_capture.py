"""What a forward function may do and still be recorded, and what is refused in one line."""

import collections
import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.trimcore.nets import Net, conv
from tests.trimcore.oracle import check, images, randomised
from trimcore.errors import NotTrimmable
from trimcore.graph.tracing import trace
from trimcore.surgery.cut import prune

Pair = collections.namedtuple("Pair", "scores features")


@dataclasses.dataclass
class Result:
    scores: Tensor
    loss: Tensor | None = None


class Mapping(collections.OrderedDict):
    """As the results of Hugging Face models: a mapping with attributes."""


def counts(m, x):
    y = m.last(m.relu(m.conv1(x)))
    return y * (2 if len(x) > 1 and x.dim() == 4 and not x.shape[-1] % 8 and int(x.size(2)) == 8 else 100)


def loops(m, x):
    return torch.stack([m.last(m.relu(m.conv1(x[i : i + 1])))[0] for i in range(len(x))])


def grows_a_list(m, x):
    maps = [m.relu(m.conv1(x))]
    maps.extend(m.same(maps[-1]).relu() for _ in range(2))
    return m.last(sum(maps))


def keeps_a_dict(m, x):
    maps = {"one": m.relu(m.conv1(x))}
    maps["two"] = m.same(maps["one"]).relu()
    return m.last(maps["one"] * maps["two"])


def makes_constants(m, x):
    y = m.relu(m.conv1(x))
    rows = torch.arange(y.shape[2], dtype=x.dtype).view(1, 1, -1, 1)
    return m.last(y * rows + torch.zeros_like(y) + y * torch.ones(len(x), 1, 1, 1, dtype=x.dtype))


def stores_a_value(m, x):
    m.seen = m.relu(m.conv1(x))
    m.calls = getattr(m, "calls", 0) + 1
    return m.last(m.seen)


def fills_a_cache(m, x):
    m.cache["map"] = m.relu(m.conv1(x))
    m.maps.append(m.cache["map"])
    return m.last(m.cache["map"])


def called_as_functions(m, x):
    y = F.conv2d(F.pad(x, (1, 1, 1, 1)), m.conv1.weight, m.conv1.bias)
    y = F.batch_norm(y, m.norm.running_mean, m.norm.running_var, m.norm.weight, m.norm.bias, m.training)
    return m.last(F.relu(y))


def linear_as_a_function(m, x):
    y = m.relu(m.conv1(x)).mean((2, 3))
    return F.linear(F.relu(F.linear(y, m.fc.weight, bias=m.fc.bias)), m.out.weight)


class Double(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x * 2

    @staticmethod
    def backward(context, gradient):
        return gradient * 2


FORWARDS = {
    "a function of its own": lambda m, x: m.last(Double.apply(m.relu(m.conv1(x)))),
    "numbers from shapes": counts, "a loop": loops, "a list": grows_a_list, "a dict": keeps_a_dict,
    "constants": makes_constants, "an attribute": stores_a_value, "a cache": fills_a_cache,
    "functions": called_as_functions, "linear as a function": linear_as_a_function,
}  # fmt: skip


def network(step) -> nn.Module:
    torch.manual_seed(0)
    net = randomised(Net(step, conv1=conv(3, 6), same=conv(6, 6), norm=nn.BatchNorm2d(6), relu=nn.ReLU(),
                         last=conv(6, 2), fc=nn.Linear(6, 5), out=nn.Linear(5, 2)))  # fmt: skip
    net.cache, net.maps = {"map": None}, []
    return net


@pytest.mark.parametrize("step", FORWARDS.values(), ids=FORWARDS)
def test_what_runs_can_be_trimmed(step):
    model, x = network(step), images(2, 3, 8, 8)
    before, state = [dict(vars(m)) for m in model.modules()], copy.deepcopy(model.state_dict())
    graph = trace(model, x)
    assert [dict(vars(m)) for m in model.modules()] == before
    assert (model.cache, model.maps) == ({"map": None}, [])
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert len(graph.candidates("conv1")) == 6
    small = check(model, {"conv1": [1, 4]}, x, graph)
    assert small.conv1.out_channels == 4 or step is called_as_functions
    assert len(small.conv1.weight) == 4


RESULTS = {
    "named": lambda y: Pair(y, None), "dataclass": Result, "mapping": lambda y: Mapping(scores=y),
    "dict": lambda y: {"scores": y, "count": 3}, "list": lambda y: [y, y * 2],
}  # fmt: skip


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_results_in_containers(result):
    model = network(lambda m, x: result(m.last(m.relu(m.conv1(x)))))
    graph = trace(model, images(2, 3, 8, 8))
    assert graph.trimmable() == ["conv1"]
    assert prune(model, {"conv1": [0]}, graph=graph).last.in_channels == 5


class Keywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = conv(3, 6), conv(6, 2)

    def forward(self, x, *more, mask=None, twice: bool = True, **others):
        y = self.conv1(x).relu() if mask is None else x
        return self.conv2(y * 2 if twice else y) + sum(more)


def test_arguments_with_defaults():
    model, x = randomised(Keywords()), images(2, 3, 8, 8)
    check(model, {"conv1": [2]}, x)
    two = (x, images(2, 2, 8, 8, seed=1))
    assert trace(model, two).trimmable() == ["conv1"]


class OfAList(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = conv(3, 6), conv(6, 2)

    def forward(self, images, scale):
        return [self.conv2(self.conv1(image[None]).relu()) * scale["by"] for image in images]


def test_a_list_of_images_and_a_dict():
    given = ([torch.zeros(3, 8, 8), torch.zeros(3, 6, 6)], {"by": torch.tensor(2.0)})
    assert trace(OfAList(), given).trimmable() == ["conv1"]


WRAPPERS = {"parallel": nn.DataParallel, "compiled": lambda m: torch.compile(m, backend="eager")}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_are_looked_through(wrap):
    inner, x = network(lambda m, x: m.last(m.relu(m.conv1(x)))), images(2, 3, 8, 8)
    wrapped = wrap(inner)
    graph = trace(wrapped, x)
    assert graph.model is inner
    assert prune(wrapped, {"conv1": [0]}, graph=graph).conv1.out_channels == 5


class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()))

    def forward(self, x):
        return self.inner(x)


def changes_its_weights(m, x):
    m.conv1.weight.data.mul_(2)
    return m.last(m.relu(m.conv1(x)))


REFUSED = {
    "scripted": (Scripted, "its module 'inner' is scripted"),
    "raises": (lambda: Net(lambda m, x: 1 / 0), "its forward function fails: division by zero"),
    "no tensor": (lambda: Net(lambda m, x: {"loss": None}), "its forward function returns no tensor"),
    "data": (lambda: Net(lambda m, x: x[x > 0]), "reads values that only data decides"),
    "a value": (lambda: Net(lambda m, x: x * x.max().item()), r"reads values that only data decides \(item\)"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line(make, message):
    with pytest.raises(NotTrimmable, match=message) as refusal:
        trace(make(), torch.zeros(2, 3, 8, 8))
    assert "\n" not in str(refusal.value)


def test_weights_that_forward_changes_are_not_changed():
    model = network(changes_its_weights)
    before = model.conv1.weight.clone()
    trace(model, images(2, 3, 8, 8))
    assert torch.equal(model.conv1.weight, before)


def test_the_random_state_is_not_touched():
    model = network(lambda m, x: m.last(m.relu(m.conv1(x + torch.rand(1) + torch.rand_like(x)))))
    state = torch.get_rng_state()
    trace(model, images(2, 3, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)
