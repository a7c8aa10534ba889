"""Verification, compared with a slow protocol in plain Python and with numbers by hand; and embeddings."""

import copy
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from tests.trimcore.nets import Net, conv
from trimcore import models
from trimcore.data import load
from trimcore.data.pairs import PairSet, load_pairs
from trimcore.data.splits import Folder, Resident
from trimcore.errors import DataError, SpecError, TrimError
from trimcore.evaluation.embedding import embed, embedder
from trimcore.evaluation.verification import Verified, distances, verify, verify_pairs, verifying
from trimcore.graph.tracing import trace

# ---- the protocol


def slow(apart: list[float], same: list[bool], fold: list[int]) -> tuple[list[tuple[float, float]], float]:
    """Accuracy and threshold of each fold, and the AUC, by exhaustive search."""

    def right(threshold: float, which: list[int]) -> int:
        return sum((apart[i] <= threshold) == same[i] for i in which)

    measured = []
    for number in sorted(set(fold)):
        others = [i for i in range(len(fold)) if fold[i] != number]
        own = [i for i in range(len(fold)) if fold[i] == number]
        values = sorted({apart[i] for i in others})
        candidates = [math.nextafter(min(apart), -math.inf), *((a + b) / 2 for a, b in pairwise(values)), max(apart)]
        most = max(right(threshold, others) for threshold in candidates)
        best = [threshold for threshold in candidates if right(threshold, others) == most]
        threshold = best[(len(best) - 1) // 2]
        measured.append((right(threshold, own) / len(own), threshold))
    wins = [
        1.0 if near < far else 0.5 if near == far else 0.0
        for near, is_same in zip(apart, same, strict=True) if is_same
        for far, is_same in zip(apart, same, strict=True) if not is_same
    ]  # fmt: skip
    return measured, sum(wins) / len(wins)


def points(apart: list[float], same: list[bool]) -> list[tuple[float, float]]:
    """The whole ROC curve: (0, 0) and one point per distance used as the threshold."""

    def share(threshold: float, kind: bool) -> float:
        return sum(d <= threshold for d, s in zip(apart, same, strict=True) if s == kind) / same.count(kind)

    return [(0.0, 0.0), *((share(threshold, False), share(threshold, True)) for threshold in sorted(set(apart)))]


def both_kinds_without_each_fold(same: list[bool], fold: list[int]) -> bool:
    rest = [{s for s, f in zip(same, fold, strict=True) if f != number} for number in set(fold)]
    return len(rest) > 1 and all(len(kinds) == 2 for kinds in rest)


def verified(apart, same, fold) -> Verified:
    return verify(torch.tensor(apart, dtype=torch.float64), torch.tensor(same), torch.tensor(fold))


# Sixteenths have many ties and exact midpoints; the other numbers have neither.
NUMBERS = st.integers(0, 12).map(lambda n: n / 16) | st.floats(0, 2, width=32)
PAIRS = st.lists(st.tuples(NUMBERS, st.booleans(), st.integers(0, 3)), min_size=4, max_size=40)


@settings(deadline=None, max_examples=200)
@given(PAIRS)
def test_verification_equals_the_slow_protocol(pairs):
    apart, same, fold = map(list, zip(*pairs, strict=True))
    assume(both_kinds_without_each_fold(same, fold))
    found = verified(apart, same, fold)
    folds, auc = slow(apart, same, fold)
    assert [threshold for _, threshold in found.folds] == [threshold for _, threshold in folds]
    accuracies = np.array([accuracy for accuracy, _ in folds])
    np.testing.assert_allclose([accuracy for accuracy, _ in found.folds], accuracies, rtol=1e-15)
    assert found.accuracy == pytest.approx(accuracies.mean(), abs=1e-15)
    assert found.standard_error == pytest.approx(accuracies.std(ddof=1) / len(accuracies) ** 0.5, abs=1e-15)
    assert found.auc == pytest.approx(auc, abs=1e-15)
    assert list(found.roc) == points(apart, same)
    assert found.pairs == len(pairs)


@settings(deadline=None, max_examples=50)
@given(PAIRS, st.randoms(use_true_random=False), st.sampled_from([0.25, 8.0]))
def test_neither_order_nor_scale_matters(pairs, shuffle, scale):
    apart, same, fold = map(list, zip(*pairs, strict=True))
    assume(both_kinds_without_each_fold(same, fold))
    apart = [round(d * 16) / 16 for d in apart]  # so that scaling is exact
    mixed = list(zip([d * scale for d in apart], same, fold, strict=True))
    shuffle.shuffle(mixed)
    one, other = verified(apart, same, fold), verified(*map(list, zip(*mixed, strict=True)))
    assert (one.accuracy, one.standard_error, one.auc, one.roc) == (
        other.accuracy, other.standard_error, other.auc, other.roc
    )  # fmt: skip


def test_verification_by_hand():
    #        fold 0                   fold 1
    apart = [0.1, 0.2, 0.6, 0.9] + [0.3, 0.7, 0.5, 0.8]
    same = [True, True, False, False] + [True, True, False, False]
    found = verified(apart, same, [0] * 4 + [1] * 4)
    # On fold 1, three pairs are right both above 0.3 (midpoint 0.4) and above 0.7 (midpoint 0.75). The lower one is
    # used, which is right on all of fold 0. On fold 0, all are right between 0.2 and 0.6. With the midpoint 0.4, the
    # distances 0.3, 0.5 and 0.8 of fold 1 are on the right side and 0.7 is not: 3 of 4.
    assert found.folds == ((1.0, pytest.approx(0.4)), (0.75, pytest.approx(0.4)))
    assert found.accuracy == 0.875
    assert found.standard_error == pytest.approx(0.125)  # std 0.25 / sqrt(2), over sqrt(2)
    assert found.auc == 14 / 16  # 0.7 is less than 0.9 and 0.8, but not less than 0.6 and 0.5
    assert found.roc == (
        (0, 0), (0, 0.25), (0, 0.5), (0, 0.75), (0.25, 0.75), (0.5, 0.75), (0.5, 1), (0.75, 1), (1, 1)
    )  # fmt: skip
    assert (found.pairs, found.distance) == (8, "cosine")


def test_of_several_best_thresholds_the_middle_one_is_used():
    # Without fold 1, matches and non-matches alternate. The best thresholds are above 1, 3 and 5; the middle one counts
    apart, same = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [True, False] * 3
    found = verified([*apart, 0.0, 9.0], [*same, True, False], [0] * 6 + [1] * 2)
    assert found.folds[1] == (1.0, 3.5)


def test_a_pair_at_the_threshold_counts_as_a_match():
    apart, same, fold = [1.0, 3.0, 2.0, 2.0], [True, False, True, False], [0, 0, 1, 1]
    assert verified(apart, same, fold).folds[1] == (0.5, 2.0)
    assert verified([*apart, 2.0], [*same, True], [*fold, 1]).folds[1][0] == 2 / 3


@pytest.mark.parametrize("low", [1.0, 0.0, 1e-300, 1e300])
def test_adjacent_floats_are_separated(low):
    """No number lies between them, so the midpoint is rounded to one of the two."""
    for _ in range(4):  # even and odd last digits
        high = math.nextafter(low, math.inf)
        assert verified([low, high] * 4, [True, False] * 4, [0, 0, 1, 1] * 2).accuracy == 1.0
        low = high


@pytest.mark.parametrize(("apart", "expected"), [([0.5] * 8, 0.5), ([0, 1] * 4, 1.0), ([1, 0] * 4, 0.0)])
def test_auc_without_and_with_perfect_separation(apart, expected):
    found = verified(apart, [True, False] * 4, [0, 0, 1, 1] * 2)
    assert found.auc == expected
    assert (found.roc[0], found.roc[-1]) == ((0.0, 0.0), (1.0, 1.0))
    # If distances are worse than chance, the best threshold accepts all pairs or none: half of each fold is right.
    assert found.accuracy == max(0.5, expected)


def test_a_long_roc_is_reduced_to_two_hundred_points():
    random = np.random.default_rng(0)
    same = random.random(3000) < 0.5
    apart = random.normal(~same * 1.0)
    found = verify(torch.tensor(apart), torch.tensor(same), torch.arange(3000) % 10)
    assert len(found.roc) == len(set(found.roc)) == 200
    assert set(found.roc) <= set(points_quickly(apart, same))
    assert (found.roc[0], found.roc[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert all(a <= c and b <= d for (a, b), (c, d) in pairwise(found.roc))
    area = sum((c - a) * (b + d) / 2 for (a, b), (c, d) in pairwise(found.roc))
    assert area == pytest.approx(found.auc, abs=1e-3)


def points_quickly(apart, same):
    kinds = same[apart.argsort()]
    rates = ((kinds == kind).cumsum() / (kinds == kind).sum() for kind in (False, True))
    return [(0.0, 0.0), *zip(*(rate.tolist() for rate in rates), strict=True)]


@pytest.mark.parametrize(
    ("apart", "same", "fold", "complaint"),
    [
        ([1, 2, 3, 4], [True, False] * 2, [3] * 4, "two or more folds of pairs, not 1"),
        ([], [], [], "two or more folds of pairs, not 0"),
        ([1, 2, 3, 4], [True] * 4, [0, 0, 1, 1], "the folds other than 0 need both"),
        ([1, 2, 3, 4], [False] * 4, [0, 0, 1, 1], "the folds other than 0 need both"),
        ([1, 2, 3, 4], [True, False, True, True], [0, 0, 1, 1], "the folds other than 0 need both"),
        ([1, 2, 3, 4], [True, True, True, False], [0, 0, 1, 1], "the folds other than 1 need both"),
        ([1, math.nan, 3, math.inf], [True, False] * 2, [0, 0, 1, 1], "2 of 4 distances are not finite"),
    ],
)
def test_invalid_pairs_are_refused(apart, same, fold, complaint):
    with pytest.raises(DataError, match=complaint) as error:
        verify(torch.tensor(apart), torch.tensor(same, dtype=torch.bool), torch.tensor(fold, dtype=torch.int64))
    assert "\n" not in str(error.value)


# ---- distances


def test_distances_equal_plain_python():
    first, second = torch.randn(2, 20, 7, generator=torch.Generator().manual_seed(0))
    cosine, euclidean = (distances(first, second, kind) for kind in ("cosine", "euclidean"))
    assert cosine.dtype == euclidean.dtype == torch.float64
    for i, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        product = sum(x * y for x, y in zip(a, b, strict=True))
        assert cosine[i] == pytest.approx(1 - product / math.hypot(*a) / math.hypot(*b), abs=1e-14)
        assert euclidean[i] == pytest.approx(math.dist(a, b), rel=1e-14)


def test_cosine_distance_depends_only_on_direction():
    x = torch.tensor([[3.0, 4.0], [3.0, 4.0], [3.0, 4.0], [1e-30, 0.0], [1e30, 1e30]])
    y = torch.tensor([[6.0, 8.0], [-3.0, -4.0], [-4.0, 3.0], [1e-40, 0.0], [1e30, 1e30]])
    assert distances(x, y, "cosine").tolist() == pytest.approx([0, 2, 1, 0, 0], abs=1e-15)
    x = torch.randn(1000, 7, generator=torch.Generator().manual_seed(0))
    assert distances(x, x, "cosine").min() == 0  # rounding never makes it negative
    assert distances(x, -x, "cosine").max() == 2


def test_an_all_zero_embedding_has_cosine_distance_one():
    zero, other = torch.zeros(1, 3), torch.ones(1, 3)
    assert [float(distances(a, b, "cosine")) for a, b in ((zero, other), (other, zero), (zero, zero))] == [1, 1, 1]
    assert float(distances(zero, zero, "euclidean")) == 0


def test_an_unknown_distance_is_refused():
    with pytest.raises(SpecError, match="unknown distance 'manhattan'; use cosine or euclidean"):
        distances(torch.ones(1, 2), torch.ones(1, 2), "manhattan")


# ---- the embedding


@pytest.mark.parametrize(
    ("name", "size", "layer", "width"),
    [
        ("lenet5", 28, "fc2", 500),
        ("vgg16-small", 32, "classifier.fc8", 512),
        ("resnet18", 32, "fc", 512),
        ("squeezenet1_1", 64, "classifier.1", 512),
        ("mobilenet_v2", 32, "classifier.1", 1280),
    ],
)
def test_the_embedding_is_the_input_of_the_last_layer(name, size, layer, width):
    model = models.build(name, image_size=size)
    x = torch.rand(3, next(model.parameters()).shape[1], size, size, generator=torch.Generator().manual_seed(0))
    given = []
    handle = model.get_submodule(layer).register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    model.eval()(x)
    handle.remove()
    expected = given[0].mean((2, 3)) if given[0].dim() == 4 else given[0]
    network, last = embedder(trace(model, x))
    assert last == layer
    assert expected.shape == (3, width)
    with torch.inference_mode():
        assert torch.equal(network(x), expected)
    theirs, ours = dict(model.named_modules()), dict(network.named_modules())
    assert all(ours[path] is theirs[path] for path in ours if not [*ours[path].children()])  # nothing is copied
    assert layer not in ours


def embedding_of(net: nn.Module, x: Tensor) -> tuple[Tensor, str]:
    network, last = embedder(trace(net, x))
    return network(x), last


def test_reshaping_by_tensor_sizes_is_supported():
    """x.view(x.size(0), -1), and shapes taken from the output of another layer."""

    def steps(m: Net, x: Tensor) -> Tensor:
        x = F.relu(m.conv1(x))
        rows, count = x.shape[0], x.size(0)
        x = F.softmax(m.conv2(x).mean((2, 3), keepdim=True), 1)
        return x.view(x.size(0), -1).reshape(rows, 2).view(count, 2)

    net, x = Net(steps, conv1=conv(3, 6), conv2=conv(6, 2)), torch.rand(4, 3, 8, 8)
    vectors, last = embedding_of(net, x)
    assert last == "conv2"
    assert torch.equal(vectors, F.relu(net.conv1(x)).mean((2, 3)))


def test_maps_in_front_of_a_linear_layer_have_channels_last():
    def steps(m: Net, x: Tensor) -> Tensor:
        return m.fc(F.relu(m.conv1(x)).permute(0, 2, 3, 1)).mean((1, 2))

    net, x = Net(steps, conv1=conv(3, 6), fc=nn.Linear(6, 2)), torch.rand(4, 3, 8, 8)
    vectors, last = embedding_of(net, x)
    assert last == "fc"
    torch.testing.assert_close(vectors, F.relu(net.conv1(x)).mean((2, 3)))


def test_the_first_of_several_outputs_counts_and_in_place_operations_are_kept():
    def steps(m: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        x = m.conv1(x)
        m.relu(x)  # in place: its result is not used
        x = x.flatten(1)
        return m.fc1(x), m.fc2(x)

    net = Net(steps, conv1=conv(3, 6), relu=nn.ReLU(inplace=True), fc1=nn.Linear(384, 3), fc2=nn.Linear(384, 3))
    x = torch.randn(4, 3, 8, 8)
    vectors, last = embedding_of(net, x)
    assert last == "fc1"
    assert torch.equal(vectors, F.relu(net.conv1(x)).flatten(1))


@pytest.mark.parametrize(
    ("net", "complaint"),
    [
        (Net(lambda m, x: m.a(F.relu(m.c(x))) + m.b(x), a=conv(3, 3), b=conv(3, 3), c=conv(3, 3)), "from a and b, not"),
        (nn.Sequential(nn.ReLU(), nn.Flatten()), "no linear layer or convolution"),
    ],
)
def test_a_network_without_a_single_last_layer_has_no_embedding(net, complaint):
    with pytest.raises(TrimError, match=f"no penultimate layer .*{complaint}") as error:
        embedder(trace(net, torch.rand(2, 3, 8, 8)))
    assert "\n" not in str(error.value)


# ---- embedding and verifying images


def pixel_net(count: int) -> nn.Module:
    """A network whose embedding is the image itself."""
    return nn.Sequential(nn.Flatten(), nn.Linear(count, 10))


def pairs_of(images) -> PairSet:
    first, second = torch.triu_indices(len(images), len(images), 1)
    same = images.labels[first] == images.labels[second]
    return PairSet("made", images, first, second, same, torch.arange(len(same)) % 2)


@pytest.fixture
def folder(tmp_path) -> Folder:
    """Seven images of 6x6 pixels."""
    random, files = np.random.default_rng(0), [tmp_path / f"{i}.png" for i in range(7)]
    for file in files:
        Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8)).save(file)
    return Folder(tmp_path, tuple(files), torch.tensor([0, 1] * 3 + [0]), 6, 3)


STATISTICS = SimpleNamespace(mean=(0.5, 0.25, 0.0), std=(0.5, 2.0, 1.0))


@pytest.mark.parametrize("batch", [500, 3])
def test_each_image_is_embedded_once_and_in_order(folder, monkeypatch, batch):
    monkeypatch.setattr("trimcore.evaluation.embedding.EVALUATION_BATCH", batch)
    pixels = torch.stack([folder.image(i) for i in range(7)])
    graph = trace(pixel_net(108), torch.zeros(1, 3, 6, 6))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (STATISTICS.mean, STATISTICS.std))
    expected = ((pixels / 255 - mean) / std).flatten(1)
    for images in (folder, Resident(pixels, folder.labels, 6, 3)):
        found = embed(graph, pairs_of(images), STATISTICS, "cpu")
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected)
        assert torch.equal(images.labels, torch.tensor([0, 1, 0, 1, 0, 1, 0]))
        seen = list(verifying(graph, pairs_of(images), STATISTICS, "cpu"))
        assert seen == ([7] if batch == 500 else [3, 6, 7])


def test_an_unreadable_image_is_named_in_the_error(folder):
    folder.files[4].write_bytes(b"no image")
    graph = trace(pixel_net(108), torch.zeros(1, 3, 6, 6))
    with pytest.raises(DataError, match=f"{folder.files[4]} is not a readable image") as error:
        verify_pairs(graph, pairs_of(folder), STATISTICS, "cpu")
    assert "\n" not in str(error.value)


def test_verification_leaves_the_network_unchanged():
    """Dropout and BatchNorm are in evaluation mode during a batch, and in their own mode between batches and after."""
    net = Net(
        lambda m, x: m.fc(m.drop(F.relu(m.norm(m.conv1(x)))).mean((2, 3))), conv1=conv(3, 6), norm=nn.BatchNorm2d(6),
        drop=nn.Dropout(0.5), fc=nn.Linear(6, 2),
    )  # fmt: skip
    net.norm.eval()
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    images = Resident(torch.randint(0, 256, (600, 3, 8, 8), dtype=torch.uint8), torch.arange(600) % 2, 8, 3)
    pairs = PairSet("made", images, torch.arange(0, 596), torch.arange(4, 600), torch.arange(596) % 3 < 1,
                    torch.arange(596) % 5)  # fmt: skip
    graph = trace(net, torch.zeros(1, 3, 8, 8))
    for _ in verifying(graph, pairs, STATISTICS, "cpu"):
        assert [module.training for module in net.modules()] == modes
    one, other = (embed(graph, pairs, STATISTICS, "cpu") for _ in range(2))
    assert torch.equal(one, other)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not one.requires_grad


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_verification_of_raw_pixels_equals_numpy(distance):
    data = load("mnist-5k")
    pairs = load_pairs("test", data)
    graph = trace(pixel_net(784), torch.zeros(1, 1, 28, 28))
    found = verify_pairs(graph, pairs, data, "cpu", distance)
    pixels = (pairs.images.pixels.flatten(1).numpy() / 255 - data.mean[0]) / data.std[0]
    first, second = pixels[pairs.first], pixels[pairs.second]
    apart = np.linalg.norm(first - second, axis=1)
    if distance == "cosine":
        lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        apart = 1 - (first * second).sum(1) / lengths
    expected = verify(torch.from_numpy(apart), pairs.same, pairs.fold, distance)
    assert found.accuracy == pytest.approx(expected.accuracy, abs=1e-3)  # rounding may change the best threshold
    assert found.auc == pytest.approx(expected.auc, abs=1e-5)
    assert (found.distance, found.pairs, len(found.folds)) == (distance, 2000, 10)
    assert 0.65 < found.accuracy < 0.85
    assert 0.7 < found.auc < 0.9


def test_damaged_weights_are_reported_in_one_line():
    net = pixel_net(108)
    graph = trace(net, torch.zeros(1, 3, 6, 6))
    images = Resident(torch.zeros(4, 3, 6, 6, dtype=torch.uint8), torch.tensor([0, 0, 1, 1]), 6, 3)
    wrong = SimpleNamespace(mean=(math.nan,) * 3, std=(1.0,) * 3)
    with pytest.raises(DataError, match="6 of 6 distances are not finite"):
        verify_pairs(graph, pairs_of(images), wrong, "cpu")
