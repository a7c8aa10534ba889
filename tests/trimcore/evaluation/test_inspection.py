"""One neuron, compared with Python loops over its activations and with networks that hold it at zero."""

import bisect
import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from tests.trimcore.nets import NETS, Net, conv, maxouts
from tests.trimcore.oracle import masked, randomised
from trimcore.data import Data
from trimcore.data.batches import Batches
from trimcore.data.splits import Folder, Resident
from trimcore.errors import DataError, NotTrimmable, SpecError, TrimError
from trimcore.evaluation import inspection
from trimcore.evaluation.inspection import BINS, PASSES, Neuron, inspect
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.layers.maxout import Maxout
from trimcore.models import build
from trimcore.scoring.apoz import profile
from trimcore.scoring.per_class import profile_by_class

CLASSES = 3


def pictures(count: int, channels: int, size: int, same: bool = False) -> Data:
    """Random images; the last one is a copy of the first (if `same`, all are)."""
    pixels = torch.randint(256, (count, channels, size, size), generator=torch.Generator().manual_seed(0))
    pixels[1 if same else -1 :] = pixels[0]
    split = Resident(pixels.to(torch.uint8), torch.arange(count) % (CLASSES - 1), size, channels)
    return of(split, channels, size)


def of(split, channels: int, size: int) -> Data:
    mean, std = (0.5,) * channels, (0.25,) * channels
    return Data("own", tuple("abc"[:CLASSES]), split, split, split, mean, std, channels, size)


def lenet() -> tuple[nn.Module, Data]:
    torch.manual_seed(0)
    model, data = build("lenet5", num_classes=CLASSES, image_size=16).eval(), pictures(23, 1, 16)
    for module, neuron in ((model.conv2, 5), (model.fc1, 7)):  # make them fire on about half of the images
        largest = shown(model, module, data)[:, neuron].reshape(len(data.validation), -1).amax(1)
        with torch.no_grad():
            module.bias[neuron] -= largest.unique()[9:11].mean()
    return model, data


def inspected(model: nn.Module, layer: str, neuron: int, data: Data, **how) -> Neuron:
    graph = trace(model, torch.zeros(2, *data.example_shape))
    return inspect(graph, layer, neuron, data.validation, data, "cpu", **how)


def shown(model: nn.Module, module: nn.Module, data: Data, call: int = 0) -> Tensor:
    """The output of one call of a module, for all images at once."""
    calls: list[Tensor] = []
    hook = module.register_forward_hook(lambda m, i, y: calls.append(y.clone()))
    with torch.no_grad():
        model(normalised(data))
    hook.remove()
    return calls[call]


def normalised(data: Data) -> Tensor:
    (x, _), *_ = Batches(data.validation, data, 1000, "cpu")
    return x


def slow(maps: list[list[list[float]]], edges: list[float], most: int) -> dict:
    """The statistics of a neuron's maps (N, h, w), computed one value at a time."""
    histogram, exact, silent, peaks = [0] * BINS, 0, 0, []
    for image, rows in enumerate(maps):
        largest, place = -math.inf, (0, 0)
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                if value > largest:
                    largest, place = value, (i, j)
                if value == 0:
                    exact += 1
                else:
                    histogram[min(bisect.bisect_right(edges, value) - 1, BINS - 1)] += 1
        if all(value == 0 for row in rows for value in row):
            silent += 1
        else:
            peaks.append((image, largest, place))
    peaks.sort(key=lambda peak: -peak[1])  # stable: ties keep the order of the images
    return {"histogram": histogram, "exact_zeros": exact, "silent": silent, "exciting": tuple(peaks[:most])}


@pytest.mark.parametrize(("layer", "neuron", "relu"), [
    ("conv1", 3, "relu1"), ("conv2", 5, "relu2"), ("fc1", 7, "relu3")
])  # fmt: skip
def test_lenet_by_brute_force(layer, neuron, relu):
    model, data = lenet()
    maps = shown(model, model.get_submodule(relu), data)[:, neuron]
    side = {"conv1": 12, "conv2": 2, "fc1": 1}[layer]
    maps = maps.reshape(23, side, side)
    found = inspected(model, layer, neuron, data, most=5, images=[22, 4])
    wanted = slow(maps.tolist(), found.edges.tolist(), 5)
    assert found.edges.tolist() == pytest.approx(np.linspace(0, float(maps.max()), BINS + 1), rel=1e-9)
    assert found.histogram.tolist() == wanted["histogram"]
    assert (found.exact_zeros, found.silent, found.size) == (wanted["exact_zeros"], wanted["silent"], (side, side))
    assert [image for image, _, _ in found.exciting] == [image for image, _, _ in wanted["exciting"]]
    assert [where for _, _, where in found.exciting] == [where for _, _, where in wanted["exciting"]]
    assert [a for _, a, _ in found.exciting] == pytest.approx([a for _, a, _ in wanted["exciting"]], rel=1e-5)
    assert int(found.histogram.sum()) + found.exact_zeros == 23 * side * side
    if layer != "conv1":
        assert 0 < found.silent < 23
    labels = data.validation.labels.tolist()
    for c in range(CLASSES):
        own = [maps[i] for i in range(23) if labels[i] == c]
        assert int(found.zeros[c]) == sum(int((m == 0).sum()) for m in own)
        assert int(found.totals[c]) == len(own) * side * side
    assert found.apoz == found.exact_zeros / (23 * side * side)
    assert found.apoz_by_class[2].isnan()
    assert list(found.maps) == [22, 4]
    for image, seen in found.maps.items():
        torch.testing.assert_close(seen, maps[image])


@pytest.mark.parametrize(("layer", "shape", "outgoing"), [
    ("conv1", (1, 5, 5), {"conv2.weight": 50 * 25}),
    ("conv2", (20, 5, 5), {"fc1.weight": 500}),
    ("fc1", (50, 1, 1), {"fc2.weight": CLASSES}),
])  # fmt: skip
def test_weights_and_savings_of_a_removal(layer, shape, outgoing):
    model, data = lenet()
    found, module = inspected(model, layer, 5, data), model.get_submodule(layer)
    assert found.weights.shape == shape
    assert torch.equal(found.weights.flatten(), module.weight[5].detach().flatten())
    assert found.bias == float(module.bias.detach()[5])
    assert found.norm == pytest.approx(math.sqrt(sum(w * w for w in module.weight[5].flatten().tolist())))
    assert found.takes == {f"{layer}.weight": math.prod(shape), f"{layer}.bias": 1, **outgoing}
    graph = trace(model, torch.zeros(2, *data.example_shape))
    whole, less = cost_of(graph), cost_of(graph, {layer: [5]})
    assert (found.parameters, found.macs) == (whole.parameters - less.parameters, whole.macs - less.macs)
    assert found.parameters == sum(found.takes.values())
    assert (found.together, found.mates) == ((5,), ())


NEURONS = {
    "conv_norm_relu": [("conv1", 2), ("conv2", 4)], "residual": [("stem", 1), ("conv2", 1), ("conv1", 3), ("conv3", 0)],
    "dense": [("conv0", 2), ("conv2", 1)], "depthwise": [("conv1", 4)], "over_positions": [("conv1", 1), ("mix", 3)],
    "branches": [("conv2", 2)], "used_twice": [("shared", 2)],
}  # fmt: skip


@pytest.mark.parametrize("name", NEURONS)
def test_any_network_matches_profiles_and_masking(name):
    """Zeros equal those of the profiles; accuracy and loss equal those of a network with the neuron held at zero."""
    torch.manual_seed(0)
    model, data = randomised(NETS[name](), dtype=torch.float32), pictures(17, 3, 8)
    if name in ("depthwise", "used_twice"):
        inner = model.steps
        model.steps = lambda m, x: inner(m, x).mean((2, 3))
    x, y = normalised(data), data.validation.labels
    graph = trace(model, x)
    with torch.no_grad():
        outputs = model(x).shape[1]
    data = dataclasses.replace(data, classes=data.classes[: min(outputs, CLASSES)])
    classes, whole = profile_by_class(model, [(x, y)], data.num_classes, graph=graph), profile(model, [x], graph=graph)
    for layer, neuron in NEURONS[name]:
        found = inspect(graph, layer, neuron, data.validation, data, "cpu")
        leader = graph.layers[layer].leader
        assert found.zeros.tolist() == classes[leader].zeros[:, neuron].tolist()
        assert found.totals.tolist() == classes[leader].totals[:, neuron].tolist()
        assert found.apoz == float(whole[leader].apoz[neuron])
        with torch.no_grad():
            held = masked(graph, {leader: [neuron]})
            for measure, scores in ((found.before, model(x)), (found.without, held(x))):
                assert measure.accuracy == float((scores.argmax(1) == y).double().mean())
                assert measure.loss == pytest.approx(float(F.cross_entropy(scores.double(), y)), rel=1e-5)
                assert measure.examples == 17
        assert abs(found.before.loss - found.without.loss) > 1e-6
        less = cost_of(graph).parameters - cost_of(graph, {leader: [neuron]}).parameters
        assert found.parameters == sum(found.takes.values()) == less


def test_the_activation_right_after_the_layer_is_shown():
    torch.manual_seed(0)
    model, data = randomised(NETS["residual"](), dtype=torch.float32), pictures(9, 3, 8)
    for layer, call in (("stem", 0), ("conv2", 2)):  # one channel of the residual stream, at two of its activations
        found = inspected(model, layer, 1, data, images=[4])
        maps = shown(model, model.relu, data, call)[:, 1]
        torch.testing.assert_close(found.maps[4], maps[4])
        assert found.exact_zeros == int((maps == 0).sum())
        assert int(found.totals.sum()) == 2 * maps.numel()


def test_near_zeros_count_as_zeros_but_are_shown_unchanged():
    torch.manual_seed(0)
    model, data = randomised(NETS["over_positions"](), dtype=torch.float32), pictures(9, 3, 8)
    x = normalised(data)
    limit = profile(model, [x], 0.3)["mix"].limits[0]
    given = shown(model, model.gelu, data)
    neuron = int(given.amin((0, 1)).argmin())  # the one with the lowest activation
    found, maps = inspected(model, "mix", neuron, data, tolerance=0.3), given[:, :, neuron]  # (N, positions)
    assert int(found.zeros.sum()) == int((maps.abs() <= limit).sum()) > 0
    assert found.exact_zeros == int((maps == 0).sum())
    assert (float(found.edges[0]), float(found.edges[-1])) == pytest.approx((float(maps.min()), float(maps.max())))
    assert float(found.edges[0]) < 0
    assert found.size == (1, 64)
    assert int(found.histogram.sum()) + found.exact_zeros == 9 * 64
    assert found.weights.shape == (6,)


def test_a_neuron_of_a_maxout_unit_is_inspected_alone():
    torch.manual_seed(0)
    model, data = randomised(maxouts(k=3, units=4), dtype=torch.float32), pictures(12, 3, 8)
    x, y = normalised(data), data.validation.labels
    with torch.no_grad():
        model.fc1.bias[4] += 1  # so that it is often the maximum
    found = inspected(model, "fc1", 4, data)
    assert found.mates == (3, 5)
    assert found.takes == {"fc1.weight": 48, "fc1.bias": 1}  # the unit stays, and so do its outgoing weights
    assert found.weights.shape == (3, 4, 4)
    given = shown(model, model.relu, data, 1)[:, 4]
    assert found.zeros.tolist() == [int((given[y == c] == 0).sum()) for c in range(CLASSES)]
    hook = model.drop.register_forward_pre_hook(lambda m, i: i[0].index_fill(1, torch.tensor([4]), 0))
    with torch.no_grad():
        loss = float(F.cross_entropy(model(x).double(), y))
    hook.remove()
    assert found.without.loss == pytest.approx(loss, rel=1e-6)
    assert abs(found.without.loss - found.before.loss) > 1e-6


def test_without_an_activation_the_input_of_the_maximum_is_shown():
    torch.manual_seed(0)
    model = Net(
        lambda m, x: m.out(m.maxout(m.fc(x.flatten(1)))),
        fc=nn.Linear(64, 8), maxout=Maxout(2), out=nn.Linear(4, CLASSES),
    )  # fmt: skip
    data = pictures(9, 1, 8)
    found, given = inspected(model, "fc", 6, data), shown(model, model.fc, data)[:, 6]
    assert found.mates == (7,)
    assert found.weights.shape == (1, 8, 8)  # the shape of the image itself
    best = max(range(9), key=lambda i: float(given[i]))
    assert found.exciting[0][:2] == (best, pytest.approx(float(given[best])))


def test_transposed_and_grouped_convolutions():
    torch.manual_seed(0)
    model = Net(
        lambda m, x: m.out(m.relu(m.grouped(m.relu(m.up(x))))).mean((2, 3)), up=nn.ConvTranspose2d(3, 4, 3, padding=1),
        relu=nn.ReLU(), grouped=conv(4, 6, groups=2), out=conv(6, CLASSES),
    )  # fmt: skip
    data = pictures(5, 3, 8)
    up, grouped = inspected(model, "up", 1, data), inspected(model, "grouped", 4, data)
    assert torch.equal(up.weights, model.up.weight[:, 1].detach())
    assert torch.equal(grouped.weights, model.grouped.weight[4].detach())
    graph = trace(model, torch.zeros(2, 3, 8, 8))
    assert list(grouped.together) == graph.together("grouped", [4])
    assert grouped.macs == cost_of(graph).macs - cost_of(graph, {"grouped": [4]}).macs


def test_batch_size_does_not_matter_and_progress_counts_both_passes(monkeypatch):
    model, data = lenet()
    whole = inspected(model, "conv2", 5, data)
    monkeypatch.setattr(inspection, "EVALUATION_BATCH", 5)
    graph, seen = trace(model, torch.zeros(2, 1, 16, 16)), []
    model.train()
    model.conv1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    looking = inspection.inspecting(graph, "conv2", 5, data.validation, data, "cpu", images=[7, 8, 22])
    while True:
        try:
            seen.append(next(looking))
        except StopIteration as end:
            found = end.value
            break
        assert (model.training, model.conv1.training, model.conv2.training) == (True, False, True)
    assert seen == [5, 10, 15, 20, 23, 28, 33, 38, 43, 46]
    assert seen[-1] == PASSES * 23
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name in ("zeros", "totals", "histogram"):
        assert torch.equal(getattr(found, name), getattr(whole, name))
    assert (found.exact_zeros, found.silent) == (whole.exact_zeros, whole.silent)
    assert [row[0] for row in found.exciting] == [row[0] for row in whole.exciting]
    assert found.without.loss == pytest.approx(whole.without.loss, rel=1e-6)
    assert list(found.maps) == [7, 8, 22]


def test_ties_go_to_the_first_image():
    model, _ = lenet()
    data = pictures(12, 1, 16, same=True)
    assert [row[0] for row in inspected(model, "conv1", 3, data, most=4).exciting] == [0, 1, 2, 3]


def test_a_neuron_that_never_fires_on_the_first_examples():
    model, data = lenet()
    with torch.no_grad():
        model.conv2.bias[9] = -100
    found = inspected(model, "conv2", 9, data, examples=10)
    assert (found.silent, found.exact_zeros, found.exciting) == (10, 40, ())
    assert (found.apoz, int(found.histogram.sum()), found.before) == (1.0, 0, found.without)
    assert found.edges.tolist() == pytest.approx(np.linspace(0, 1, BINS + 1))
    assert found.before.examples == int(found.totals.sum()) // 4 == 10


def test_unreadable_images_are_skipped_and_the_others_keep_their_indices(tmp_path):
    model, data = lenet()
    files = []
    for i, pixels in enumerate(data.validation.pixels[:8]):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(pixels[0].numpy()).save(files[-1])
    files[2].write_bytes(b"no image")
    folder = Folder(tmp_path, tuple(files), data.validation.labels[:8], 16, 1)
    found = inspected(model, "conv1", 3, of(folder, 1, 16), images=[2, 6, 1], most=20)
    rest = data.validation.take(torch.tensor([0, 1, 3, 4, 5, 6, 7]))
    wanted = inspected(model, "conv1", 3, of(rest, 1, 16), images=[5, 1], most=20)
    numbers = [0, 1, 3, 4, 5, 6, 7]
    assert [row[0] for row in found.exciting] == [numbers[row[0]] for row in wanted.exciting]
    assert found.zeros.tolist() == wanted.zeros.tolist()
    assert list(found.maps) == [6, 1]
    assert all(torch.equal(found.maps[a], wanted.maps[b]) for a, b in ((6, 5), (1, 1)))
    assert found.before.accuracy == wanted.before.accuracy
    assert found.before.examples == 7
    for file in files:
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the 8 images"):
        inspected(model, "conv1", 3, of(folder, 1, 16))


def test_invalid_arguments_are_refused():
    model, data = lenet()
    for layer, neuron, message in (
        ("conv9", 0, "there is no layer 'conv9'"), ("fc2", 0, "cannot be trimmed"),
        ("conv1", 20, "has neurons 0 to 19, not 20"), ("conv1", -1, "has neurons 0 to 19, not -1"),
    ):  # fmt: skip
        with pytest.raises(NotTrimmable, match=message):
            inspected(model, layer, neuron, data)
    for how, message in (
        ({"tolerance": 2.0}, r"tolerance = 2\.0"), ({"examples": -1}, "examples = -1"), ({"most": -1}, "most = -1"),
        ({"images": [0, 23]}, "there is no image 23: the split has 0 to 22"),
        ({"images": [-1]}, "there is no image -1"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=message):
            inspected(model, "conv1", 0, data, **how)
    partly, colour = randomised(NETS["partly_frozen"](), dtype=torch.float32), pictures(5, 3, 8)
    with pytest.raises(NotTrimmable, match="neuron 0 of layer 'conv3' cannot be removed"):
        inspected(partly, "conv3", 0, colour)
    with pytest.raises(DataError, match="3 classes need as many scores"):
        inspected(randomised(NETS["depthwise"](), dtype=torch.float32), "conv1", 0, colour)
    with torch.no_grad():
        model.conv1.weight[0] = math.nan
    with pytest.raises(TrimError, match="not finite"):
        inspected(model, "conv1", 0, data)


def test_an_earlier_activation_of_another_branch_is_not_shown():
    torch.manual_seed(0)
    model = Net(  # relu(conv1) runs before relu(relu(conv1) + conv2)
        lambda m, x: steps(m, m.conv1(x), m.conv2(x)), conv1=conv(3, 4), conv2=conv(3, 4), relu=nn.ReLU(),
        out=conv(4, CLASSES),
    )  # fmt: skip

    def steps(m: Net, a: Tensor, b: Tensor) -> Tensor:
        a = m.relu(a)
        return m.out(m.relu(a + b)).mean((2, 3))

    data = pictures(5, 3, 8)
    first, second = (inspected(model, layer, 1, data, images=[2]).maps[2] for layer in ("conv1", "conv2"))
    torch.testing.assert_close(first, shown(model, model.relu, data, 0)[2, 1])
    torch.testing.assert_close(second, shown(model, model.relu, data, 1)[2, 1])


def test_the_result_is_independent_of_the_network():
    """The tensors share no memory with the network, and can be used in computations."""
    model, data = lenet()
    found = inspected(model, "conv1", 3, data, images=[1])
    before = model.conv1.weight.detach().clone()
    found.weights.zero_()
    found.maps[1].add_(1)
    assert torch.equal(model.conv1.weight, before)
    tensors = (found.weights, found.maps[1], found.zeros, found.histogram, found.edges)
    assert not any(tensor.requires_grad or tensor.is_inference() for tensor in tensors)


def test_a_value_on_a_bin_edge_belongs_to_the_bin_above():
    parts = {"fc": nn.Linear(64, 2), "relu": nn.ReLU(), "out": nn.Linear(2, 3)}
    model = Net(lambda m, x: m.out(m.relu(m.fc(x.flatten(1)))), **parts)
    with torch.no_grad():
        model.fc.weight.fill_(1)
        model.fc.bias.zero_()
    pixels = torch.zeros(41, 1, 64, dtype=torch.uint8)
    for white in range(41):
        pixels[white, 0, :white] = 255
    split = Resident(pixels.view(41, 1, 8, 8), torch.zeros(41, dtype=torch.int64), 8, 1)
    data = Data("own", ("a", "b", "c"), split, split, split, (0.0,), (1.0,), 1, 8)
    found = inspected(model, "fc", 0, data)  # activations are 0, 1, ..., 40
    assert found.edges.tolist() == pytest.approx(range(41))
    assert found.histogram.tolist() == [0, *[1] * 38, 2]
    assert found.exact_zeros == found.silent == 1


def test_permuted_inputs_are_not_shown_as_a_map():
    torch.manual_seed(0)
    parts = {"conv": conv(3, 4), "relu": nn.ReLU(), "fc": nn.Linear(256, 5), "out": nn.Linear(5, CLASSES)}
    mixed = Net(lambda m, x: m.out(m.relu(m.fc(m.relu(m.conv(x)).permute(0, 2, 3, 1).flatten(1)))), **parts)
    plain = Net(lambda m, x: m.out(m.relu(m.fc(m.relu(m.conv(x)).reshape(x.size(0), -1)))), **parts)
    data = pictures(5, 3, 8)
    assert inspected(mixed, "fc", 1, data).weights.shape == (256,)
    assert inspected(plain, "fc", 1, data).weights.shape == (4, 8, 8)
