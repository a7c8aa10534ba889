"""Profiling leaves nothing behind, takes any loader, and sees what is changed in place."""

import weakref

import pytest
import torch
from torch import Tensor, nn

from tests.trimcore.nets import NETS, Net, conv
from tests.trimcore.oracle import images, randomised
from tests.trimcore.scoring.test_apoz import batches, digits, leaky, whole_numbers
from trimcore.errors import DataError, NotTrimmable, TrimError
from trimcore.graph.tracing import trace
from trimcore.models import build
from trimcore.scoring import apoz, counting
from trimcore.scoring.apoz import profile, profiling

# --- side effects


def picture(model: nn.Module):
    return (
        {key: value.clone() for key, value in model.state_dict().items()},
        [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        [(id(p), p.requires_grad, p.grad) for p in model.parameters()],
    )


def breaking(x: Tensor):
    yield x
    raise OSError("the disk is gone")


@pytest.mark.parametrize("broken", [False, True])
def test_measuring_changes_nothing(broken):
    torch.manual_seed(0)
    model, x = randomised(NETS["residual"]()).train(), images(8, 3, 8, 8)
    model.norm1.eval()
    calls = []
    model.stem.register_forward_hook(lambda m, i, y: calls.append((len(y), m.training)))
    before = picture(model)
    if broken:
        with pytest.raises(OSError, match="the disk is gone"):
            profile(model, breaking(x))
    else:
        profile(model, [x])
    after = picture(model)
    assert calls == [(8, False)]  # one pass, in evaluation mode
    assert before[1:] == after[1:]
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(value, after[0][key]) for key, value in before[0].items())
    assert model(x).requires_grad


def test_no_activation_is_stored():
    torch.manual_seed(0)
    model, x = randomised(NETS["branches"]()), images(12, 3, 8, 8)
    alive: list[weakref.ref] = []
    for module in model.children():
        module.register_forward_hook(lambda m, i, y: alive.append(weakref.ref(y)))
    seen = []
    profile(model, batches(x, 4), progress=lambda _: seen.append(sum(ref() is not None for ref in alive)))
    assert seen == [0] * 6  # two passes, because of the SiLU
    assert len(alive) == 6 * 9


# --- loaders


def test_progress_reports_the_number_of_examples_so_far():
    numbers = []
    profile(build("lenet5"), batches(torch.zeros(10, 1, 28, 28), 4), progress=numbers.append)
    assert numbers == [4, 8, 10]


def test_batches_may_be_tensors_tuples_or_lists():
    model, x = whole_numbers(build("lenet5")), digits(6)
    results = [profile(model, loader)["conv2"].zeros for loader in ([x], [(x, 0)], [[x, 0, 1]], iter([x[:1], x[1:]]))]
    assert all(torch.equal(result, results[0]) for result in results)


def test_a_given_graph_is_not_traced_again(monkeypatch):
    model, x = whole_numbers(build("lenet5")), digits(6)
    graph, wanted = trace(model, x), profile(model, [x])
    monkeypatch.setattr(apoz, "trace", None)
    assert torch.equal(profile(model, [x], graph=graph)["fc1"].zeros, wanted["fc1"].zeros)


def test_the_model_has_its_own_mode_between_batches():
    torch.manual_seed(0)
    model, x = randomised(NETS["residual"]()).train(), images(8, 3, 8, 8)
    counting, before = profiling(model, batches(x, 4)), picture(model)
    assert next(counting) == 4
    assert picture(model)[1:] == before[1:]
    assert not torch.is_inference_mode_enabled()
    assert next(counting) == 8
    with pytest.raises(StopIteration) as end:
        next(counting)
    assert end.value.value["stem"].zeros.tolist() == profile(model, [x])["stem"].zeros.tolist()


def test_an_empty_loader_raises():
    with pytest.raises(DataError, match="the loader is empty"):
        profile(build("lenet5"), [])


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc1"])
def test_nan_raises_with_the_layer(layer):
    model = build("lenet5")
    with torch.no_grad():
        model.get_submodule(layer).bias[3] = torch.nan
    with pytest.raises(TrimError, match=f"activations after layer '{layer}' are NaN"):
        profile(model, [torch.zeros(2, 1, 28, 28)])


@pytest.mark.parametrize("when", [0, 1])
@pytest.mark.parametrize("output", [0, 1])
def test_nan_is_detected_immediately_in_any_batch_and_output(when, output):
    """Integer outputs cannot contain NaN."""

    def steps(m: Net, x: Tensor):
        scores = m.one(m.act(m.conv(x))), m.two(m.act2(m.conv2(x)))
        return *scores, scores[1].argmax(1), 1

    model = Net(
        steps, conv=conv(3, 4), act=nn.ReLU(), one=conv(4, 2), conv2=conv(3, 4), act2=nn.ReLU(), two=conv(4, 2)
    )
    seen, given = [], [images(2, 3, 8, 8).float() for _ in range(3)]
    layer = ("conv", "conv2")[output]

    def damaging():
        for number, x in enumerate(given):
            if number == when:
                model.get_submodule(layer).bias.data[1] = torch.nan
            seen.append(number)
            yield x

    with pytest.raises(TrimError, match=f"after layer '{layer}' are NaN; the network or its input"):
        profile(model, damaging(), tolerance=0.0)
    assert seen[-1] == when


def test_nan_after_the_last_activation_does_not_affect_a_profile():
    model = build("lenet5")
    with torch.no_grad():
        model.fc2.bias[3] = torch.nan
    assert profile(model, [torch.zeros(2, 1, 28, 28)] * 2).examples == 4


def test_nan_on_an_asynchronous_device_raises_at_the_end():
    model, x = leaky([1.0, 2.0])
    counter = counting.Counter(trace(model, x), torch.device("cpu"), [0.0], with_mean=False)
    counter.add_batch(x)
    counter.has_nan.fill_(True)
    with pytest.raises(TrimError) as refusal:
        counter.by_group()
    assert str(refusal.value) == "activations are NaN; the network or its input is damaged"


def test_an_untraceable_network_raises():
    with pytest.raises(NotTrimmable, match="cannot be traced"):
        profile(Net(lambda m, x: m.conv(x) if x.sum() > 0 else x, conv=conv(3, 3)), [images(2, 3, 8, 8)])


# --- in-place ReLUs


def kept_by_a_hook(model: nn.Module, layer: str) -> list[Tensor]:
    kept = []
    model.get_submodule(layer).register_forward_hook(lambda module, given, output: kept.append(output))
    return kept


def test_an_in_place_relu_does_not_change_an_output_that_a_hook_stores():
    """The stored output of a convolution is still that before the ReLU."""
    model = build("lenet5").eval()
    kept, x = kept_by_a_hook(model, "conv1"), images(3, 1, 28, 28).float()
    profile(model, [x])
    assert (kept[-1] < 0).any()
    assert kept[-1].equal(model.conv1(x))


def test_the_hooks_of_a_relu_are_called():
    model = build("lenet5")
    kept = kept_by_a_hook(model, "relu1")
    profile(model, [images(3, 1, 28, 28).float()])
    assert len(kept) == 1


def test_relus_are_in_place_only_where_nothing_else_reads_their_input():
    """Two ReLUs follow a convolution each. The ReLU whose convolution output is also added is not in place."""
    model = Net(
        lambda m, x: m.out((y := m.one(x)).relu() + y + torch.relu(m.two(x))),
        one=conv(3, 4), two=conv(3, 4), out=conv(4, 2),
    )  # fmt: skip
    x = images(2, 3, 8, 8)
    model.to(x.dtype)
    graph = trace(model, x)
    counter = counting.Counter(graph, torch.device("cpu"), [0.0] * len(graph.sites), with_mean=False)
    assert counter.network(x).equal(model(x))
    assert [node.target for node in counter.network.graph.nodes].count(torch.relu_) == 1
