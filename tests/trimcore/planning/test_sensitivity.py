"""Accuracy without retraining: gates compared with surgery and the oracle, scans with brute force; and the cache."""

import dataclasses
import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.trimcore.nets import NETS, Net, conv, maxouts
from tests.trimcore.oracle import ROUNDING, gap, images, masked, random_plan, randomised
from trimcore.errors import DataError, NotTrimmable, SpecError
from trimcore.evaluation.masking import MaskedNetwork, masked_accuracy, one_shot
from trimcore.graph.tracing import trace
from trimcore.layers.maxout import Maxout
from trimcore.planning import sensitivity_cache
from trimcore.planning.sensitivity import Point, Sensitivity, _run_cuts, scanning
from trimcore.planning.sensitivity_cache import cache_key, file_digest, load, save
from trimcore.scoring.apoz import profile
from trimcore.surgery.cut import prune

CLASSIFIERS = [
    "conv_norm_relu", "functional", "residual", "dense", "branches", "over_positions", "recurrent", "maxouts",
]  # fmt: skip


def made(name: str, examples: int = 30):
    """A classifier, its graph, and two batches with labels that it mostly predicts correctly."""
    torch.manual_seed(0)
    model, x = randomised(NETS[name]()), images(examples, 3, 8, 8)
    labels = balanced(model, x)
    return model, trace(model, x[:2]), list(zip(x.split(20), labels.split(20), strict=True))


def balanced(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Labels that the model predicts correctly for four of five examples. Its last bias is changed so that the labels
    cover several classes."""
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.bias -= model(x).mean(0)
        labels = model(x).argmax(1)
    labels[::5] += 1
    return labels % last.out_features


def drained(generator):
    seen = []
    while True:
        try:
            seen.append(next(generator))
        except StopIteration as end:
            return seen, end.value


# --- gates ---


@pytest.mark.parametrize("name", list(NETS))
@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_gates_match_surgery(name, ratio):
    torch.manual_seed(0)
    model, x = randomised(NETS[name]()), images(4, 3, 8, 8)
    graph = trace(model, x)
    plan, network = random_plan(graph, ratio, seed=1), MaskedNetwork(graph)
    network.mask(plan)
    with torch.no_grad():
        assert gap(network.network(x), prune(model, plan, graph=graph)(x)) < ROUNDING
        assert gap(network.network(x), model(x)) > 100 * ROUNDING
        network.mask({})
        assert torch.equal(network.network(x), model(x))


def test_gates_handle_whole_units_and_single_neurons_at_once():
    torch.manual_seed(0)
    model, x = randomised(maxouts(3, 4)), images(6, 3, 8, 8)
    graph = trace(model, x)
    network, plan = MaskedNetwork(graph), {"fc1": [0, 4, 6, 11], "conv1": [2], "conv2": [0]}
    network.mask(plan, within=("fc1",))
    with torch.no_grad():
        assert gap(network.network(x), prune(model, plan, graph=graph, within=("fc1",))(x)) < ROUNDING
        assert gap(network.network(x), masked(graph, plan, ("fc1",))(x)) < ROUNDING


@pytest.mark.parametrize("after", [nn.Identity, nn.Tanh, nn.LeakyReLU])
def test_a_neuron_removed_from_its_unit_is_never_the_maximum(after):
    torch.manual_seed(0)
    parts = {"fc1": nn.Linear(4, 12), "after": after(), "maxout": Maxout(4, -1), "fc2": nn.Linear(3, 2)}
    model = randomised(Net(lambda m, x: m.fc2(m.maxout(m.after(m.fc1(x)))), **parts))
    x = images(20, 4)
    graph = trace(model, x)
    network = MaskedNetwork(graph)
    plans = [({"fc1": [0, 1, 5, 7, 8, 10]}, ("fc1",))]
    if after is not nn.Identity:  # without an activation, whole units cannot be removed
        plans.append(({"fc1": [5]}, ()))
    for plan, within in plans:
        network.mask(plan, within)
        with torch.no_grad():
            assert gap(network.network(x), prune(model, plan, graph=graph, within=within)(x)) < ROUNDING
            assert gap(network.network(x), model(x)) > 0.01


def test_a_gate_with_nothing_to_mask_returns_its_input_tensor():
    _, graph, batches = made("functional")
    network, passed = MaskedNetwork(graph), []
    gate = network._gate

    def looked_at(x, number):
        passed.append(gate(x, number) is x)
        return gate(x, number)

    for node in network.network.graph.nodes:
        node.target = looked_at if node.target == gate else node.target
    network.network.recompile()
    network.mask({"conv2": [1]})
    network.network(batches[0][0])
    assert passed.count(False) == 1  # behind the activation of conv2


def test_a_plan_that_cannot_be_cut_cannot_be_masked_either():
    _, graph, batches = made("functional")
    with pytest.raises(NotTrimmable, match="conv1"):
        MaskedNetwork(graph).mask({"conv1": range(7)})
    with pytest.raises(NotTrimmable, match="there is no layer 'x'"):
        one_shot(graph, {"x": [0]}, batches)


# --- accuracy ---


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_masked_and_cut_networks_have_the_same_accuracy_and_loss(name):
    model, graph, batches = made(name)
    plan, network = random_plan(graph, 0.5, seed=2), MaskedNetwork(graph)
    network.mask(plan)
    ours, theirs = masked_accuracy(network, batches), one_shot(graph, plan, batches)
    assert (ours.accuracy, ours.examples) == (theirs.accuracy, theirs.examples) == (theirs.accuracy, 30)
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-9)
    assert ours.loss != pytest.approx(one_shot(graph, {}, batches).loss, rel=1e-3)


def two_neurons() -> Net:
    """Two neurons relu(x), relu(-x); scores are (first, second)."""
    model = Net(lambda m, x: m.out(m.relu(m.fc(x))), fc=nn.Linear(1, 2), relu=nn.ReLU(), out=nn.Linear(2, 2))
    with torch.no_grad():
        model.fc.weight.copy_(torch.tensor([[1.0], [-1]]))
        model.out.weight.copy_(torch.eye(2))
        model.fc.bias.zero_()
        model.out.bias.zero_()
    return model


def test_one_shot_accuracy_by_hand():
    model, x, y = two_neurons(), torch.tensor([[2.0], [-1.0], [-3.0], [1.0]]), torch.tensor([0, 1, 1, 1])
    model.train()
    found = one_shot(trace(model, x), {"fc": [1]}, [(x[:3], y[:3]), (x[3:], y[3:])])
    # Scores are (2, 0), (0, 0), (0, 0), (1, 0). Only the first is correct; a tie means class 0.
    assert (found.accuracy, found.examples) == (0.25, 4)
    expected = [math.log(1 + math.exp(-2)), math.log(2), math.log(2), math.log(1 + math.exp(1))]
    assert found.loss == pytest.approx(sum(expected) / 4)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "the loader is empty"), ([torch.zeros(2, 1)], "accuracy needs labels"),
        ([(torch.zeros(2, 1),)], "accuracy needs labels"),
    ],
)  # fmt: skip
def test_unsuitable_loaders_are_refused(batches, message):
    graph = trace(two_neurons(), torch.zeros(2, 1))
    with pytest.raises(DataError, match=message):
        one_shot(graph, {}, batches)


def test_outputs_that_are_not_class_scores_are_refused():
    model = Net(lambda m, x: m.conv2(m.relu(m.conv1(x))), conv1=conv(3, 4), relu=nn.ReLU(), conv2=conv(4, 2))
    x = images(2, 3, 8, 8, dtype=torch.float32)
    with pytest.raises(DataError, match=r"not an output of shape \(2, 2, 8, 8\)"):
        one_shot(trace(model, x), {}, [(x, torch.zeros(2, dtype=torch.int64))])


# --- the scan ---


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_scan_equals_brute_force(name):
    model, graph, batches = made(name)
    seen = profile(model, batches, graph=graph)
    torch.manual_seed(1)
    scores = {layer: torch.rand(found.width).double() for layer, found in seen.layers.items()}
    fractions = (1.0, 0.8, 0.5, 0.2)
    progress, found = drained(scanning(graph, seen, batches, None, fractions, scores))

    def accuracy(plan) -> float:
        network = masked(graph, plan)
        with torch.no_grad():
            return sum(int((network(x).argmax(1) == y).sum()) for x, y in batches) / 30

    expected = []
    for layer in seen.layers:
        numbers = graph.layers[layer].neurons.tolist()
        groups = [[i for i, other in enumerate(numbers) if other == group] for group in dict.fromkeys(numbers)]
        groups = [group for group in groups if set(group) <= set(graph.candidates(layer))]
        groups.sort(key=lambda group: -float(scores[layer][group].mean()))
        for fraction in fractions:
            removed: list[int] = []
            for group in groups:
                if len(removed) + len(group) > math.floor((1 - fraction) * len(numbers) + 1e-9):
                    break
                removed += group
            expected.append(Point(layer, fraction, len(numbers) - len(removed), accuracy({layer: removed})))
    assert found.points == expected
    assert found.base == accuracy({})
    assert len({point.accuracy for point in found.points}) > 2, "the cuts make no difference"
    assert found.examples == 30
    totals = {total for _, total in progress}
    assert len(totals) == 1
    assert [done for done, _ in progress] == sorted({done for done, _ in progress})
    assert progress[-1][0] == totals.pop()


def test_everything_before_a_layer_runs_once_for_all_its_shares():
    model, graph, batches = made("functional")
    seen, calls = profile(model, batches, graph=graph), {"conv1": 0, "fc2": 0}
    for name in calls:
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    drained(scanning(graph, seen, iter(batches), ["conv2", "fc1"], (0.75, 0.5, 0.25)))
    assert calls == {"conv1": 2 * (1 + 2), "fc2": 2 * (1 + 2 * 3)}  # two batches: the whole network, then two layers


def test_a_cut_can_affect_an_earlier_activation_than_a_smaller_cut():
    def steps(m, x):
        whole = m.conv1(x)  # its neurons are tied to those of conv2, followed by those of conv3
        parts = torch.cat([F.relu(m.conv2(x)), F.relu(m.conv3(x))], 1)
        return m.fc(torch.cat([(whole + parts).relu(), parts], 1).mean((2, 3)))

    torch.manual_seed(0)
    parts = {"conv1": conv(3, 8), "conv2": conv(3, 4), "conv3": conv(3, 4), "fc": nn.Linear(16, 3)}
    model, x = randomised(Net(steps, **parts)), images(40, 3, 8, 8)
    graph, cuts = trace(model, x[:2]), [(7,), (0, 7), (0, 1, 7)]
    with torch.no_grad():
        for cut, scores in _run_cuts(MaskedNetwork(graph), x, "conv1", cuts):
            assert gap(scores, prune(model, {"conv1": cut}, graph=graph)(x)) < ROUNDING


def test_in_place_operations_do_not_affect_the_next_share():
    def steps(m, x):
        x = m.relu(m.conv1(x))
        a = m.norm(x)  # computed before the gate of conv2, changed in place after it
        b = F.relu(m.conv2(x))
        return m.fc(torch.cat([F.leaky_relu(a, 5.0, inplace=True), b], 1).mean((2, 3)))

    torch.manual_seed(0)
    parts = {"conv1": conv(3, 4), "relu": nn.ReLU(), "norm": nn.BatchNorm2d(4), "conv2": conv(4, 4)}
    model, x = randomised(Net(steps, **parts, fc=nn.Linear(8, 3))), images(40, 3, 8, 8)
    graph, y = trace(model, x[:2]), balanced(model, x)
    seen = profile(model, [x], graph=graph)
    layer = "conv2"
    _, found = drained(scanning(graph, seen, [(x, y)], [layer], (0.75, 0.5, 0.25)))
    for point in found.points:
        worst = seen[layer].apoz.argsort(descending=True, stable=True)[: seen[layer].width - point.kept].tolist()
        assert point.accuracy == one_shot(graph, {layer: worst}, [(x, y)]).accuracy


def test_the_whole_layer_is_always_a_point_and_narrow_layers_repeat_points():
    model, graph, batches = made("functional")
    seen = profile(model, batches, graph=graph)
    progress, found = drained(scanning(graph, seen, batches, ["conv1"], (0.1, 0.05)))
    assert [(point.kept_fraction, point.kept) for point in found.points] == [(1.0, 7), (0.1, 1), (0.05, 1)]
    assert found.points[1].accuracy == found.points[2].accuracy
    assert progress[-1] == (2 * 2, 2 * 2)  # two batches: the whole network, then one neuron
    assert found.curve("conv1") == [(7, found.base), (1, found.points[1].accuracy)]


def test_a_scan_leaves_the_network_unchanged():
    model, graph, batches = made("residual")
    model.train()
    model.norm1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen = profile(model, batches, graph=graph)
    for _ in scanning(graph, seen, batches, fractions=(0.5,)):
        assert (model.training, model.norm1.training) == (True, False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_invalid_scans_are_refused():
    model, graph, batches = made("functional")
    seen = profile(model, batches, graph=graph)
    with pytest.raises(SpecError, match="unknown or untrimmable layer 'fc2'"):
        next(scanning(graph, seen, batches, ["fc2"]))
    with pytest.raises(SpecError, match="fraction = 1.5"):
        next(scanning(graph, seen, batches, fractions=(0.5, 1.5)))
    with pytest.raises(DataError, match="empty"):
        next(scanning(graph, seen, []))


# --- the table and the cache ---

FOUND = Sensitivity(500, 0.98, [Point("a", 1.0, 4, 0.98), Point("a", 0.5, 2, 0.75), Point("b", 1.0, 3, 0.98)])


def test_the_table_has_one_row_per_point():
    table = FOUND.table()
    assert list(table.columns) == ["layer", "kept_fraction", "kept", "accuracy", "drop"]
    assert table["layer"].tolist() == ["a", "a", "b"]
    assert table["drop"].tolist() == pytest.approx([0, 0.23, 0])
    with pytest.raises(SpecError, match="layer 'c' was not measured; measured are a, b"):
        FOUND.curve("c")


def test_a_saved_sensitivity_can_be_loaded(tmp_path):
    folder = tmp_path / "cache"
    assert load(folder, "k") is None
    save(folder, "k", FOUND)
    assert load(folder, "k") == FOUND
    assert load(folder, "other") is None
    assert [path.name for path in folder.iterdir()] == ["sensitivity-k.json"]


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "{}", '{"examples": 5, "base": 0.5}', '{"examples": 5, "base": 0.5, "points": [["a", 1.0]]}',
        '{"examples": "x", "base": 0.5, "points": []}', '{"examples": 5, "base": null, "points": []}',
        '{"examples": 5, "base": 0.5, "points": [["a", 1.0, 4, {}]]}', '{"examples": 5, "base": 0.5, "points": 7}',
    ],
)  # fmt: skip
def test_a_damaged_file_counts_as_missing(tmp_path, content):
    save(tmp_path, "k", FOUND)
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    assert load(tmp_path, "k") is None


def test_the_cache_file_is_plain_json(tmp_path):
    save(tmp_path, "k", FOUND)
    values = json.loads((tmp_path / "sensitivity-k.json").read_text())
    assert values == json.loads(json.dumps(dataclasses.asdict(FOUND)))
    assert values["points"][1] == ["a", 0.5, 2, 0.75]


def test_the_key_is_the_same_on_every_machine_and_depends_on_every_value(tmp_path, monkeypatch):
    same = {"weights": "w", "data": "mnist-5k", "image_size": 28, "examples": 500, "criterion": "apoz"}
    others = [
        {**same, "weights": "v"}, {**same, "data": "mnist"}, {**same, "image_size": 32}, {**same, "examples": 499},
        {**same, "criterion": "l1"}, {**same, "fractions": (1.0, 0.5)}, {**same, "tolerance": 0.1},
        {**same, "tolerance": 0.2}, {**same, "seed": 0.1},
    ]  # fmt: skip
    keys = [cache_key(**values) for values in (same, *others)]
    monkeypatch.setattr(sensitivity_cache, "VERSION", 0)
    keys.append(cache_key(**same))
    assert len(set(keys)) == len(keys)
    monkeypatch.undo()
    assert cache_key(**same, seed=1, tolerance=0.1) == cache_key(**same, tolerance=0.1, seed=1)
    assert keys[0] == cache_key(**same) == KEY


# The key must be the same on every machine.
# pragma: allowlist nextline secret
KEY = "a5cb5eeafda7fe5a293866facfb8a09ec58541e78631231b31eeb3de2febc7bb"


def test_a_file_is_identified_by_its_bytes(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # pragma: allowlist secret
    assert file_digest(path) == known
