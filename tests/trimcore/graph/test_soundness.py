"""Realistic forward functions: each is cut correctly, frozen, or rejected with an error; never cut incorrectly."""

import copy
import types

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.trimcore.nets import Net, conv
from tests.trimcore.oracle import check, images, random_plan, randomised
from trimcore.errors import NotTrimmable
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.surgery.cut import prune


def stem(step, **modules: nn.Module) -> nn.Module:
    """conv1 (6 neurons), ReLU, conv2 (6 neurons), ReLU. `step` receives both activations."""

    def steps(m, x):
        x = m.relu(m.conv1(x))
        return step(m, x, m.relu(m.conv2(x)))

    torch.manual_seed(0)
    parts = {"conv1": conv(3, 6), "conv2": conv(6, 6), "relu": nn.ReLU(), "last": conv(6, 2)}
    return randomised(Net(steps, **parts | modules))


def image(step, **modules: nn.Module):
    return stem(step, **modules), images(3, 3, 8, 8)


def attention(m, x, y):
    b, c, h, w = x.shape
    return m.fc(F.softmax(y.view(b, -1, h * w).transpose(1, 2) @ y.view(b, -1, h * w) / c**0.5, -1))


def gate_of_another_width(m, x, y):
    b, c, _, _ = x.size()
    return m.last(y * torch.sigmoid(m.fc(y.mean((2, 3)))).view(b, c, 1, 1))


def unflattened(m, x, y):
    b, c, h, w = y.shape
    return m.last(y.flatten(1).view(b, c, h, w) + y.view(b, c, h * w).view(b, c, h, w))


# step, its modules, the trimmable layers
NUMBERS = {
    "scale by the width": (attention, {"fc": nn.Linear(64, 2)}, ["conv1", "conv2"]),
    "shape by another width": (gate_of_another_width, {"fc": nn.Linear(6, 6)}, ["conv1"]),
    "flat and back": (unflattened, {}, ["conv1", "conv2"]),
    "divided by the width of another": (lambda m, x, y: m.last(y / x.shape[1] ** 0.5), {},
                                       ["conv1", "conv2"]),
    "size as resolution": (lambda m, x, y: m.last(F.interpolate(y, size=(x.size(1), 8))), {},
                           ["conv1", "conv2"]),
    "spatial sizes": (lambda m, x, y: m.last(y[:, :, : x.shape[2]] * x.shape[-1]), {}, ["conv1", "conv2"]),
    "tail of a shape": (lambda m, x, y: m.last(F.interpolate(y, size=x.shape[-2:])), {}, ["conv1", "conv2"]),
    "literal times height": (lambda m, x, y: m.fc(y.view(3, 6 * y.shape[2] * y.shape[3])), {"fc": nn.Linear(384, 2)},
                             ["conv1", "conv2"]),
    "sum of branches": (lambda m, x, y: m.last(sum([y, y * 2])), {}, ["conv1", "conv2"]),
    "norm without the batch axis": (lambda m, x, y: m.fc(m.norm(y.mean((2, 3)))),
                                    {"norm": nn.InstanceNorm1d(3), "fc": nn.Linear(6, 2)}, ["conv1"]),
    "pooling without the batch axis": (lambda m, x, y: m.fc(F.max_pool1d(y.mean((2, 3)), 3, 1, 1)),
                                       {"fc": nn.Linear(6, 2)}, ["conv1"]),
    "channels shifted by padding": (lambda m, x, y: m.last(F.pad(y, (0, 0, 0, 0, 1, -1))), {}, ["conv1"]),
    "learned clipping": (lambda m, x, y: m.last(torch.clamp(y, max=m.most)), {"most": None}, ["conv1"]),
    "largest over positions": (lambda m, x, y: m.fc(torch.max(y.flatten(2), -1).values), {"fc": nn.Linear(6, 2)},
                               ["conv1"]),
    "slice of a container": (lambda m, x, y: m.last(m.two[:1](y)), {"two": nn.Sequential(nn.ReLU(), nn.Tanh())},
                             ["conv1", "conv2"]),
    "also called on a constant": (lambda m, x, y: m.shared(y.mean((2, 3))) + m.shared(m.prototype),
                                  {"shared": nn.Linear(6, 2), "prototype": None}, ["conv1"]),
    "hard sigmoid in place": (lambda m, x, y: m.last(y * m.hard(y)), {"hard": nn.Hardsigmoid(inplace=True)},
                              ["conv1", "conv2"]),
    "ReLU in place before a skip": (lambda m, x, y: m.last(m.inplace(n := m.norm(y))) + m.one(n),
                                    {"inplace": nn.ReLU(inplace=True), "norm": nn.BatchNorm2d(6),
                                     "one": nn.Conv2d(6, 2, 1)}, ["conv1", "conv2"]),
    "matrix met along both axes": (lambda m, x, y: m.fc(y.mean((2, 3)).unsqueeze(2) * m.matrix
                                                        + y.mean((2, 3)).unsqueeze(1) * m.matrix).flatten(1),
                                   {"matrix": None, "fc": nn.Linear(6, 2)}, ["conv1"]),
}  # fmt: skip
STORED = {"most": torch.ones(6, 1, 1), "prototype": torch.ones(1, 6), "matrix": torch.ones(6, 6)}


@pytest.mark.parametrize(("step", "modules", "trimmable"), NUMBERS.values(), ids=NUMBERS)
def test_cut_correctly_or_frozen(step, modules, trimmable):
    modules = {name: nn.Parameter(STORED[name].clone()) if m is None else m for name, m in modules.items()}
    model, x = image(step, **copy.deepcopy(modules))
    graph = trace(model, x)
    assert [name for name in graph.trimmable() if name.startswith("conv")] == trimmable
    for ratio, seed in ((0, 0), (0.5, 1), (1, 2)) if trimmable else ():
        plan = random_plan(graph, ratio, seed)
        small = check(model, plan, x, graph)
        again = cost_of(trace(small, x))
        assert cost_of(graph, plan).parameters == again.parameters == sum(p.numel() for p in small.parameters())
        assert cost_of(graph, plan).macs == again.macs


def reads_a_width(m, x, y):
    return m.last(y * m.conv2.in_channels**-0.5)


def makes_a_constant(m, x, y):
    return m.last(y * torch.full((1,), float(m.conv2.in_channels), dtype=torch.float64))


def compares_a_width(m, x, y):
    return m.last(y * (2 if m.conv2.in_channels > 5 else 3))


@pytest.mark.parametrize("step", [reads_a_width, makes_a_constant])
def test_a_width_that_forward_computes_with_freezes_its_channels(step):
    model, x = image(step)
    graph = trace(model, x)
    assert "computes with the number of channels" in graph.layers["conv1"].reason
    check(model, {"conv2": [0]}, x, graph)  # it reads the other width


def test_a_width_that_decides_what_forward_does_is_detected_after_pruning():
    model, x = image(compares_a_width)
    graph = trace(model, x)
    with pytest.raises(NotTrimmable, match="the forward function depends on a width: mul is a different operation"):
        prune(model, {"conv1": [0, 1]}, graph=graph)
    check(model, {"conv2": [0]}, x, graph)


def test_a_buffer_that_forward_computes_with_freezes_its_module():
    model, x = image(lambda m, x, y: m.last(m.norm(y).relu() * m.norm.running_var.sum()), norm=nn.BatchNorm2d(6))
    assert trace(model, x).layers["conv2"].reason == "norm shares its weights with norm_running_var"


def test_a_replaced_forward_function_freezes():
    model, x = image(lambda m, x, y: m.last(y))
    model.last.forward = types.MethodType(lambda self, x: F.conv2d(x, self.weight - self.weight.mean()), model.last)
    assert "a replaced forward function" in trace(model, x).layers["conv2"].reason


class Storing(nn.Module):
    """Counts its calls, stores a feature map and a loss, and computes with a tensor created in its forward function."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.kept, self.loss = nn.Linear(5, 8), nn.Linear(8, 3), None, None
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.kept = torch.relu(self.a(x)) * torch.tensor([2.0])
        self.loss = self.kept.mean(0)
        return self.b(self.kept)


def test_tracing_restores_module_attributes():
    model, x = Storing(), images(4, 5, dtype=torch.float32)
    before = dict(vars(model))
    for _ in range(2):
        trace(model, x)
    assert vars(model) == before
    assert (model.calls.item(), model.kept) == (0, None)
    model(x)  # a training step: the stored loss has an autograd history and cannot be deep-copied
    small = prune(model, {"a": [0]}, x)
    assert small.loss.grad_fn is None
    assert model.loss.grad_fn is not None
    assert small(x).shape == (4, 3)


def test_the_first_input_need_not_be_a_tensor():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, scale: float, batch: dict) -> Tensor:
            return self.b(torch.relu(self.a(batch["x"])) * scale)

    torch.manual_seed(0)
    model, batch = Scaled().double(), {"x": images(4, 5)}
    graph = trace(model, (2.0, batch))
    assert graph.trimmable() == ["a"]
    assert cost_of(graph).macs == 5 * 8 + 8 * 3
    small = prune(model, {"a": [1, 2]}, graph=graph)
    held = copy.deepcopy(model)
    with torch.no_grad():
        held.a.weight[[1, 2]], held.a.bias[[1, 2]] = 0, 0
    assert torch.allclose(small(2.0, batch), held(2.0, batch), atol=1e-14)


def test_positions_in_the_batch_axis_are_counted():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:  # (N, 7, 5)
            return self.b(torch.relu(self.a(x.view(-1, 5))))

    assert cost_of(trace(Tokens(), torch.zeros(4, 7, 5))).macs == 7 * (5 * 8 + 8 * 3)


def test_errors_of_forward_functions_become_one_line():
    class Own(Exception):
        pass

    def steps(m, x, y):
        raise Own("a picture\nplease")

    with pytest.raises(NotTrimmable, match="^Net cannot be traced: its forward function fails: a picture"):
        trace(*image(steps))


def test_one_channel_that_is_left_twice_is_cut_like_any_other():
    class Twice(nn.Module):
        """A channel meets its own rectified copy in a concatenation, which a stored tensor scales."""

        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(8, 2, 1)
            self.scale = nn.Parameter(torch.linspace(1, 2, 8).view(8, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last((torch.cat([x, x.relu()], 1) * self.scale).relu())

    network = randomised(Twice())
    small = check(network, {"first": [0, 1, 3]}, images(2, 3, 8, 8))
    assert small.scale.shape == (2, 1, 1)
