"""Counts by class against the profile over all classes and brute force; selectivity and confusions by hand."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.trimcore.nets import NETS, Net, conv
from tests.trimcore.oracle import images, randomised
from trimcore.compute.generators import finished
from trimcore.errors import DataError, NotTrimmable, SpecError, TrimError
from trimcore.evaluation.confusion import broken, confusing, confusion, per_class_accuracy
from trimcore.graph.tracing import trace
from trimcore.models import build
from trimcore.scoring.apoz import passes, profile
from trimcore.scoring.per_class import ClassProfile, counting_by_class, order, profile_by_class, selectivity


def labelled(x: Tensor, classes: int, size: int = 7) -> list[tuple[Tensor, Tensor]]:
    """Classes of different sizes; the last one has no examples."""
    labels = torch.randint(classes - 1, (len(x),), generator=torch.Generator().manual_seed(2))
    return list(zip(x.split(size), labels.split(size), strict=True))


def moved(model: nn.Module) -> nn.Module:
    """The model in float32, with statistics and shifts that are never 0 or 1."""
    return randomised(model, dtype=torch.float32).train()


LARGE = {"lenet5": (1, 28), "vgg16-small": (1, 28), "resnet18": (3, 32)}


@pytest.mark.parametrize("name", [*LARGE, *NETS])
def test_the_sum_over_classes_is_the_profile(name):
    torch.manual_seed(0)
    if name in LARGE:
        channels, size = LARGE[name]
        model, x = build(name, in_channels=channels, image_size=size), images(9, channels, size, size).float()
    else:
        model, x = NETS[name](), images(20, 3, 8, 8).float()
    model = moved(model)
    batches = labelled(x, 4)
    whole, found = profile(model, batches), profile_by_class(model, batches, 4)
    assert list(found.layers) == list(whole.layers)
    assert found.examples.tolist() == [sum((y == c).sum().item() for _, y in batches) for c in range(4)]
    for layer, seen in whole.layers.items():
        assert found[layer].zeros.sum(0).tolist() == seen.zeros.tolist()
        assert found[layer].totals.sum(0).tolist() == seen.totals.tolist()
        assert found[layer].zeros.shape == (4, seen.width)
        assert found[layer].zeros.dtype == found[layer].totals.dtype == torch.int64
    assert any(0 < int(found[layer].zeros.sum()) < int(found[layer].totals.sum()) for layer in whole.layers)
    assert model.training


@pytest.mark.parametrize("name", ["residual", "over_positions"])  # several activations per neuron; GELU, channels last
def test_a_class_is_the_profile_of_its_examples_with_the_limits_of_all_examples(name):
    torch.manual_seed(0)
    model, x = moved(NETS[name]()), images(20, 3, 8, 8).float()
    batches, graph = labelled(x, 4), trace(NETS[name](), x)
    assert passes(graph, 0.1) == (2 if name == "over_positions" else 1)
    y = torch.cat([labels for _, labels in batches])
    for tolerance in (0.0, 0.1):
        found = profile_by_class(model, batches, 4, tolerance)
        limits = {name: layer.limits for name, layer in profile(model, batches, tolerance).layers.items()}
        for c in range(3):
            alone = profile(model, [x[y == c]], 0.0)
            for layer in found.layers:
                if not limits[layer]:
                    assert found[layer].zeros[c].tolist() == alone[layer].zeros.tolist()
                assert found[layer].totals[c].tolist() == alone[layer].totals.tolist()
        assert all(counts.apoz[3].isnan().all() for counts in found.layers.values())
    if name == "over_positions":  # the only limit, by hand: that of the GELU
        with torch.no_grad():
            shown = model.eval().gelu(model.mix(model.relu(model.conv1(x)).permute(0, 2, 3, 1).flatten(1, 2)))
        for c in range(3):
            assert found["mix"].zeros[c].tolist() == (shown[y == c].abs() <= limits["mix"][0]).sum((0, 1)).tolist()


def test_lenet_matches_brute_force_for_any_batch_size():
    torch.manual_seed(0)
    model, x = build("lenet5", image_size=16).double(), images(12, 1, 16, 16)
    labels, shown = torch.arange(12) % 3, []
    hook = model.relu2.register_forward_hook(lambda m, i, y: shown.append(y))
    with torch.no_grad():
        model(x)
    hook.remove()
    wanted = [[0] * 50 for _ in range(3)]
    for example, label in zip(shown[0].tolist(), labels.tolist(), strict=True):
        for neuron, rows in enumerate(example):
            wanted[label][neuron] += sum(value == 0 for row in rows for value in row)
    for size in (1, 5, 12):
        found = profile_by_class(model, list(zip(x.split(size), labels.split(size), strict=True)), 3)
        assert found["conv2"].zeros.tolist() == wanted
        assert found["conv2"].totals.tolist() == [[4 * 4] * 50] * 3
        torch.testing.assert_close(found["conv2"].apoz, torch.tensor(wanted).double() / 16, rtol=0, atol=0)


def test_it_counts_batch_by_batch_and_does_not_change_the_model():
    model = randomised(NETS["over_positions"](), dtype=torch.float32)
    model.conv1.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches, modes, seen = labelled(images(20, 3, 8, 8).float(), 4), [], []
    counting = counting_by_class(model, batches, 4)
    while True:
        try:
            seen.append(next(counting))
        except StopIteration as end:
            found = end.value
            break
        modes.append((model.training, model.conv1.training))
    assert seen == [7, 14, 20, 27, 34, 40]
    assert isinstance(found, ClassProfile)
    assert set(modes) == {(False, True)}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_invalid_arguments_raise():
    model, x = randomised(NETS["residual"](), dtype=torch.float32), images(4, 3, 8, 8).float()
    with pytest.raises(DataError, match="the loader is empty"):
        profile_by_class(model, [], 3)
    for labels in (torch.tensor([0, 1, 2, 3]), torch.tensor([0, -1, 2, 1])):
        with pytest.raises(DataError, match="class indices from 0 to 2"):
            profile_by_class(model, [(x, labels)], 3)
    with pytest.raises(DataError, match="one class index per example"):
        profile_by_class(model, [(x, torch.zeros(4))], 3)
    with pytest.raises(SpecError, match=r"tolerance = 1\.5"):
        profile_by_class(model, [(x, torch.zeros(4).long())], 3, 1.5)
    with pytest.raises(TrimError, match="NaN"):
        profile_by_class(model, [(x * math.nan, torch.zeros(4).long())], 3)
    gelu, pairs = randomised(NETS["over_positions"](), dtype=torch.float32), labelled(x, 3)
    with pytest.raises(DataError, match="only once"):
        profile_by_class(gelu, iter(pairs), 3)
    exactly = profile_by_class(gelu, iter(pairs), 3, 0.0)  # one pass is enough for exact zeros
    assert exactly["conv1"].zeros.tolist() == profile_by_class(gelu, pairs, 3, 0.0)["conv1"].zeros.tolist()
    with pytest.raises(NotTrimmable):
        profile_by_class(Net(lambda m, x: m.out(x), out=conv(3, 2)), labelled(x, 3), 3)
    mixing = Net(  # all positions of all examples along axis 0
        lambda m, x: m.out(m.relu(m.fc(m.conv(x).permute(0, 2, 3, 1).flatten(0, 2)))),
        conv=conv(3, 4), fc=nn.Linear(4, 5), relu=nn.ReLU(), out=nn.Linear(5, 2),
    )  # fmt: skip
    with pytest.raises(TrimError, match="axis 0 at relu"):
        profile_by_class(mixing, labelled(x, 3), 3)


NAN = math.nan


def test_selectivity_and_order_by_hand():
    activity = torch.tensor([
        [0.6, 1.0, 0.5, 0.0, 0.0, 0.2],
        [0.2, 0.0, 0.5, 0.0, 0.3, 0.8],
        [0.0, 0.0, 0.5, 0.0, 0.3, 0.6],
    ]).double()  # fmt: skip
    found = selectivity(1 - activity)
    #      (.6 - .1)/(.6 + .1), one class only, all alike, never, (.3 - .15)/(.45), (.8 - .4)/1.2
    assert found.tolist() == pytest.approx([5 / 7, 1, 0, 0, 1 / 3, 1 / 3])
    assert found.dtype == torch.float64
    # class 0: 1 (1.0), 0 (0.71), 2 (a tie of all classes); class 1: 4 (a tie of two) and 5; never: 3
    order_found = order(1 - activity).tolist()
    assert order_found[:3] == [1, 0, 2]
    assert sorted(order_found[3:5]) == [4, 5]
    assert order_found[5] == 3


def test_classes_without_examples_are_ignored():
    apoz = torch.tensor([[0.4, 1.0], [NAN, NAN], [0.8, 1.0]])
    assert selectivity(apoz).tolist() == pytest.approx([(0.6 - 0.2) / 0.8, 0], abs=1e-6)
    assert order(apoz).tolist() == [0, 1]
    assert selectivity(torch.tensor([[0.4], [NAN]])).tolist() == [0]  # nothing to compare with
    assert selectivity(torch.tensor([[NAN], [NAN]])).tolist() == [0]


@settings(deadline=None, max_examples=80)
@given(st.integers(2, 5), st.integers(1, 6), st.integers(0, 999), st.sampled_from([2, 4, 64]))
def test_selectivity_and_order_match_the_definition(classes, width, seed, levels):
    apoz = torch.randint(levels + 1, (classes, width), generator=torch.Generator().manual_seed(seed)).double() / levels
    wanted, keys = [], []
    for neuron in range(width):
        fires = [1 - value for value in apoz[:, neuron].tolist()]
        most = max(fires)
        rest = (sum(fires) - most) / (classes - 1)
        wanted.append((most - rest) / (most + rest) if most else 0.0)
        keys.append((fires.index(most) if most else classes, -wanted[-1], neuron))
    found = selectivity(apoz)
    assert found.tolist() == pytest.approx(wanted, abs=1e-12)
    assert all(0 <= value <= 1 for value in found.tolist())
    shown = order(apoz).tolist()
    assert sorted(shown) == list(range(width))
    exact = [(keys[i][0], -float(found[i]), i) for i in shown]
    assert exact == sorted(exact)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_a_confusion_counts_pairs(pairs):
    labels = torch.tensor([true for true, _ in pairs], dtype=torch.int64)
    predicted = torch.tensor([guess for _, guess in pairs], dtype=torch.int64)
    found, counts = confusion(predicted, labels, 4), Counter(pairs)
    assert found.dtype == torch.int64
    assert found.tolist() == [[counts[true, guess] for guess in range(4)] for true in range(4)]
    scores = torch.eye(4)[predicted]
    assert torch.equal(confusion(scores, labels, 4), found)
    for true, accuracy in enumerate(per_class_accuracy(found).tolist()):
        among = [guess == true for t, guess in pairs if t == true]
        assert accuracy == (sum(among) / len(among)) if among else math.isnan(accuracy)


def test_invalid_labels_and_predictions_raise():
    with pytest.raises(DataError, match="labels range from 0 to 3"):
        confusion(torch.tensor([0, 0]), torch.tensor([0, 3]), 3)
    with pytest.raises(DataError, match="predictions range from -1 to 0"):
        confusion(torch.tensor([0, -1]), torch.tensor([0, 1]), 3)


def test_confusing_predicts_in_evaluation_mode():
    model = Net(lambda m, x: (m.fc(m.drop(x)), None), fc=nn.Linear(3, 3, bias=False), drop=nn.Dropout(0.9))
    with torch.no_grad():
        model.fc.weight.copy_(torch.eye(3))
    guesses, labels = torch.tensor([0, 1, 1, 2, 2, 2]), torch.tensor([0, 1, 2, 2, 2, 0])
    x = torch.eye(3)[guesses]
    for size in (1, 4):
        found = finished(confusing(model, list(zip(x.split(size), labels.split(size), strict=True)), 3))
        assert found.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 2]]
    assert model.drop.training
    with pytest.raises(DataError, match="empty"):
        finished(confusing(model, [], 3))


def test_broken_lists_the_confusions_that_grew():
    before = torch.tensor([[8, 2, 0], [0, 4, 0], [1, 1, 8]])
    after = torch.tensor([[5, 2, 3], [1, 3, 0], [0, 2, 8]])
    assert broken(before, after) == [(0, 2, 0.0, 0.3), (1, 0, 0.0, 0.25), (2, 1, 0.1, 0.2)]
    assert broken(before, after, most=1) == [(0, 2, 0.0, 0.3)]
    assert broken(before, before * 2) == []  # fractions, not counts
    assert broken(before, before + torch.diag(torch.tensor([5, 5, 5]))) == []
    none = torch.tensor([[0, 0], [1, 1]])  # a class without examples
    assert broken(none, torch.tensor([[1, 1], [4, 0]])) == [(1, 0, 0.5, 1.0)]
    with pytest.raises(DataError, match="2 and 3 classes"):
        broken(none, before)
