"""Every path that only runs forward, on the device cuda, without a GPU.

A tensor on the pretended device keeps its values on the CPU, so Python code can read them and every result can be
compared with that of a CPU. For each operation, PyTorch's FakeTensorMode decides whether the devices of the operands
fit together and on which device the result is.
"""

from collections.abc import Iterator
from itertools import product, repeat
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

import trimcore as tc
from tests.trimcore.nets import NETS, Net, conv
from tests.trimcore.oracle import random_plan, randomised
from trimcore.compute.generators import finished
from trimcore.data import Data
from trimcore.data.pairs import PairSet
from trimcore.data.splits import Resident
from trimcore.evaluation import accuracy, confusion, inspection, masking
from trimcore.scoring.per_class import profile_by_class
from trimcore.tasks.regression import Regression

aten, CPU, CUDA = torch.ops.aten, torch.device("cpu"), torch.device("cuda", 0)


class OnCuda(Tensor):
    """A tensor whose device is cuda and whose `values` are on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    __torch_dispatch__ = classmethod(lambda cls, func, *_: pytest.fail(f"{func} outside of PretendedCuda"))

    @staticmethod
    def __new__(cls, values: Tensor) -> "OnCuda":
        layout = {"strides": values.stride(), "storage_offset": values.storage_offset(), "dtype": values.dtype}
        with torch.inference_mode(False):  # a view in inference mode is as its base, which may be older
            made = Tensor._make_wrapper_subclass(cls, values.shape, device=CUDA, **layout)
        made.values = values
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()


class PretendedCuda(TorchDispatchMode):
    """The device cuda exists inside. Operations on tensors of different devices raise RuntimeError as on a GPU."""

    judge = fake_tensor.FakeTensorMode(allow_non_fake_inputs=False)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if OnCuda not in types and not any(_value(x) is not x for x in (*args, *kwargs.values())):
            return func(*args, **kwargs)
        operands = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = self._devices(func, args, kwargs, operands)
        owners = {id(_value(operand)): operand for operand in operands}
        args, kwargs = tree_map(_value, (args, kwargs))

        def placed(x: Tensor) -> Tensor:
            owner, device = owners.get(id(x)), next(devices)
            if owner is not None and owner.device == device:
                return owner  # changed in place
            x = x if owner is None else x.clone()  # a copy on another device shares no memory
            return OnCuda(x) if device.type == "cuda" else x

        return tree_map_only(Tensor, placed, func(*args, **kwargs))

    def _devices(self, func, args, kwargs, operands: list[Tensor]) -> Iterator[torch.device]:
        """The devices of the results."""
        if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_):  # a GPU refuses more than the judge
            moved = [i for i in args[1] if i is not None and i.device != CPU]
            return repeat(_only_device(func, [args[0], *moved, *(value for value in args[2:3] if value.dim())]))
        metas = [torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta") for x in operands]
        fakes = {id(x): fake_tensor.FakeTensor(self.judge, m, x.device) for x, m in zip(operands, metas, strict=True)}
        args, kwargs = tree_map_only(Tensor, lambda x: fakes[id(x)], (args, kwargs))
        try:
            with self.judge:
                return iter([x.device for x in tree_leaves(func(*args, **kwargs)) if isinstance(x, Tensor)])
        except (fake_tensor.DataDependentOutputException, fake_tensor.DynamicOutputShapeException):
            return repeat(_only_device(func, [x for x in operands if x.dim()] or operands[:1]))


def _value(x: Any) -> Any:  # what stands for x on the CPU
    if type(x) is torch.device and x.type == "cuda":
        return CPU
    return x.values if isinstance(x, OnCuda) else x


def _only_device(func, tensors: list[Tensor]) -> torch.device:
    if len(found := {x.device for x in tensors}) > 1:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, not {found}")
    return found.pop()


@pytest.fixture
def cuda(monkeypatch) -> Iterator[PretendedCuda]:
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)  # else `to` keeps the class
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (1 << 40, 1 << 40))
    torch._C._ensureCUDADeviceGuardSet()
    torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(numbers, device=...)` first makes a tensor on the CPU
    with torch.backends.cudnn.flags(enabled=False):  # no CPU has the operations of cudnn
        yield PretendedCuda()
    torch._C._set_only_lift_cpu_tensors(False)


def attention() -> Net:
    def steps(m: Net, x: Tensor) -> Tensor:
        x = m.gelu(m.conv1(x)).flatten(2).transpose(1, 2)  # (N, 64, 8)
        x = x + m.attention(x, x, x, need_weights=False)[0]
        return m.last(m.gelu(m.first(m.norm(x))).mean(1))

    return Net(steps, conv1=conv(3, 8), gelu=nn.GELU(), attention=nn.MultiheadAttention(8, 4, batch_first=True),
               norm=nn.LayerNorm(8), first=nn.Linear(8, 6), last=nn.Linear(6, 3))  # fmt: skip


def shifted() -> Net:  # with constants to fold, and channels that keep their places
    def steps(m: Net, x: Tensor) -> Tensor:
        x = m.relu(m.point(m.norm(m.deep(m.relu(m.first(x))))))
        return m.last(torch.cat([x[:, :3] * 2, x[:, 3:]], 1).mean((2, 3)))

    return Net(steps, relu=nn.ReLU(), first=conv(3, 6), deep=conv(6, 6, groups=6), norm=nn.BatchNorm2d(6),
               point=nn.Conv2d(6, 8, 1), last=nn.Linear(8, 3))  # fmt: skip


MAKERS = NETS | {"attention": attention, "shifted": shifted, "lenet5": lambda: tc.build("lenet5", 3, 3, image_size=16)}


class Case:
    """A network on a device, traced, with batches that are still on the CPU."""

    def __init__(self, network: nn.Module, device: torch.device, size: int = 8):
        pixels = torch.randint(256, (24, 3, size, size), generator=torch.Generator().manual_seed(0))
        x, labels = pixels[:12] / 128 - 1, torch.arange(24) % 2
        split = Resident(pixels.to(torch.uint8), labels, size, 3)
        self.data = Data("own", ("a", "b"), split, split, split, (0.5,) * 3, (0.25,) * 3, 3, size)
        self.batches = [(x[:8], labels[:8]), (x[8:], labels[8:12])]
        self.device, self.network, self.x = device, network.to(device), x.to(device)
        self.graph = tc.trace(self.network, self.x, whole_heads=True, embeddings=True)
        self.plan = random_plan(self.graph, 0.4, seed=0)

    @torch.inference_mode()
    def outputs(self, network: nn.Module) -> Tensor:
        return network(self.x).cpu()


def profiles(case: Case) -> Any:
    found = tc.profile(case.network, case.batches, 0.1, mean_activation=True).layers.values()
    by_class = profile_by_class(case.network, case.batches, 2, 0.1).layers.values()
    return [(x.zeros, x.totals, x.mean_activation, x.limits) for x in found], [(x.zeros, x.totals) for x in by_class]


def cut(case: Case) -> Any:
    network = case.network.to(memory_format=torch.channels_last)  # which is kept
    graph = tc.trace(network, case.x, **case.graph.options)
    small = tc.prune(network, case.plan, graph=graph)
    state = small.state_dict().values()
    assert all(tensor.device == case.device for tensor in state)
    return case.plan, sorted(graph.frozen), case.outputs(small), [tensor.cpu() for tensor in state]


def preview(case: Case) -> Any:
    masked, values = masking.MaskedNetwork(case.graph), [(case.x.cpu(), case.outputs(case.network))]
    masked.mask(case.plan)
    found = [masking.masked_accuracy(masked, case.batches), tc.one_shot(case.graph, case.plan, case.batches)]
    found.append(tc.one_shot(case.graph, case.plan, values, task=Regression()))
    return case.outputs(masked.network), [vars(measure) for measure in found]


def sensitivity(case: Case) -> Any:
    found = tc.profile(case.network, case.batches, graph=case.graph)
    scores = tc.scores("l1", found, case.graph)
    points = finished(tc.scanning(case.graph, found, case.batches, None, (0.5, 0.2), scores)).points
    return scores, [point[1:] for point in points]


def evaluation(case: Case) -> Any:
    matrix = finished(confusion.confusing(case.network, case.batches, 8))
    return matrix, vars(accuracy.evaluate(case.network, case.data.test, case.data, case.device))


def neuron(case: Case) -> Any:
    layer, (first, *_) = list(case.plan.items())[-1 if "fc1" in case.plan else 0]  # once, behind a flattened map
    found = vars(inspection.inspect(case.graph, layer, first, case.data.test, case.data, case.device, images=[3, 1]))
    return found | {"before": vars(found["before"]), "without": vars(found["without"]), "bias": found["bias"] or 0.0}


def verification(case: Case) -> Any:
    first, second = torch.triu_indices(24, 24, 1)
    pairs = PairSet("own", case.data.test, first, second, (first - second) % 2 == 0, torch.arange(len(first)) % 3)
    found = [tc.verify_pairs(case.graph, pairs, case.data, case.device, kind) for kind in ("cosine", "euclidean")]
    return [(one.accuracy, one.standard_error, one.folds, one.auc, one.roc) for one in found]


def units(case: Case) -> Any:
    found = tc.relevance(case.network, case.batches)
    plan, masked = tc.plan_within_units(found), masking.MaskedNetwork(case.graph)
    masked.mask(plan, found)
    networks = [masked.network, tc.prune(case.network, plan, graph=case.graph, within=found)]
    return [unit.counts for unit in found.values()], [case.outputs(network) for network in networks]


PATHS = (profiles, cut, preview, sensitivity, evaluation, neuron, verification)
NAMES = ("lenet5", "attention", "residual", "dense", "shifted", "over_positions", "recurrent", "maxouts")


@pytest.mark.parametrize(("name", "path"), [("maxouts", units), *product(NAMES, PATHS)])
def test_cuda_gives_what_the_cpu_gives(cuda, name, path):
    torch.manual_seed(0)
    network, size = randomised(MAKERS[name](), dtype=torch.float32), 16 if name == "lenet5" else 8
    expected = path(Case(network, CPU, size))
    with cuda:
        found = path(Case(network, CUDA, size))
    assert not any(isinstance(leaf, OnCuda) for leaf in tree_leaves(found)), "results are on the CPU"
    torch.testing.assert_close(found, expected, equal_nan=True)


MISTAKES = {
    "adding a fresh tensor": lambda y: y + torch.ones(8, 1, 1),
    "choosing with a mask": lambda y: torch.where(torch.arange(8).view(-1, 1, 1) > 3, y, 0.0),
    "reading a table": lambda y: torch.arange(8.0)[y.argmax(1)],
    "writing values": lambda y: y.index_put((torch.arange(2),), torch.ones(2, 8, 4, 4)),
    "adding in place to a number": lambda y: torch.zeros(()).add_(y.sum()),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_an_operation_on_two_devices_is_refused(cuda, mistake):
    with cuda, torch.inference_mode():
        y = torch.ones(2, 8, 4, 4).to("cuda")
        assert (y * torch.tensor(2.0)).device == y[torch.tensor([0, 1])].device == CUDA, "a GPU does this too"
        with pytest.raises(RuntimeError, match="device"):
            mistake(y)


@pytest.mark.parametrize("path", [path for path in PATHS if path is not cut])
def test_a_network_that_leaves_a_tensor_behind_is_found(cuda, path):
    modules = {"conv": conv(3, 8), "relu": nn.ReLU(), "fc": nn.Linear(8, 3)}
    network = Net(lambda m, x: m.fc((m.relu(m.conv(x)) + torch.ones(8, 1, 1)).mean((2, 3))), **modules)
    path(Case(network, CPU))
    with cuda, pytest.raises(RuntimeError, match="device"):
        path(Case(network, CUDA))
