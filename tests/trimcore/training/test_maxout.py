"""Runs of the second paper: maxout units reduced to single neurons, pruned weights, verification, and resuming."""

import pytest
import torch

from tests.trimcore.training.runs import carry_out, of_kind, step, timeless_csvs
from trimcore import spec
from trimcore.data import load as load_data
from trimcore.data.batches import Batches
from trimcore.data.pairs import load_pairs
from trimcore.errors import SpecError
from trimcore.evaluation.verification import verify_pairs
from trimcore.files.export import export
from trimcore.graph.tracing import trace
from trimcore.layers.maxout import Maxout, units_of
from trimcore.scoring.relevance import relevance
from trimcore.surgery import magnitude
from trimcore.training.loop import trim

WHOLE_STORY = {
    "model": "lenet5-maxout", "options": {"width": 24, "k": 3}, "base": {"epochs": 2, "batch_size": 32},
    "step": [
        {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.2, "iterations": 2,
         "layer": {"fc1": {"rule": "maxout"}}},
        {"layers": ["all"], "rule": "sparsity", "value": 0.7, "iterations": 2},
        {"layers": ["fc1"], "rule": "count", "value": 2},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def asked(make_spec):
    return make_spec(**WHOLE_STORY)


@pytest.fixture(scope="module")
def story(asked):
    return carry_out(asked)


def test_units_are_reduced_to_single_neurons_while_a_convolution_is_cut_by_apoz(story):
    rows = of_kind(story[0], "iteration")
    assert [row["k"] for row in rows] == [{"fc1": k} for k in (3, 2, 1, 1, 1, 1)]
    assert [row["widths"]["fc1"] for row in rows] == [24, 16, 8, 8, 8, 6]
    assert [row["widths"]["conv2"] for row in rows] == [50, 40, 32, 32, 32, 32]
    inputs = [50, 40, 32, 32, 32, 32]  # one position per channel
    units = [8, 8, 8, 8, 8, 6]  # the inputs of fc2
    assert [row["parameters"] for row in rows] == [
        20 * 75 + 20 + c * 500 + c + f * c + f + 4 * u + 4
        for c, f, u in zip(inputs, [24, 16, 8, 8, 8, 6], units, strict=True)
    ]
    assert [row["layers_trimmed"] for row in rows[1:3]] == [["conv2", "fc1"]] * 2


def test_the_least_relevant_neuron_of_each_unit_is_removed(story):
    seen, cuts = of_kind(story[0], "profiled"), of_kind(story[0], "pruned")
    for before, cut, k in zip(seen, cuts[:2], (3, 2), strict=False):
        units = before["units"]["fc1"]
        assert (units["k"], units["examples"], units["positions"]) == (k, 160, 1)
        assert all(sum(unit) == 160 * units["shares"] for unit in units["counts"])
        expected = [u * k + unit.index(min(unit)) for u, unit in enumerate(units["counts"])]
        assert cut["layers"]["fc1"]["cut"] == expected
        assert cut["layers"]["fc1"]["original"] == [units["original"][i] for i in expected]
        assert (cut["layers"]["fc1"]["criterion"], cut["layers"]["conv2"]["criterion"]) == ("relevance", "apoz")
    assert [event["units"] for event in seen[2:]] == [{}] * 4


def test_relevance_is_counted_on_the_train_split(story, asked):
    data = load_data(asked.data, image_size=16, seed=3)
    network = story[2][1].build()
    assert units_of(network) == {"maxout": 2}
    found = relevance(network, Batches(data.train, data, 500, "cpu"))["fc1"]
    assert found.counts.tolist() == of_kind(story[0], "profiled")[1]["units"]["fc1"]["counts"]


def test_relevance_can_be_counted_on_fewer_examples(make_spec):
    asked = make_spec(**{**WHOLE_STORY, "profile": {"relevance_examples": 50}, "step": []})
    events, _, _ = carry_out(asked)
    assert of_kind(events, "profiled")[0]["units"]["fc1"]["examples"] == 50


def test_checkpoints_record_their_units_and_the_maximum_disappears_at_the_end(story):
    for iteration, k in enumerate((3, 2, 1, 1, 1, 1)):
        network = story[2][iteration].build()
        assert story[2][iteration].units == {"fc1": k}
        assert isinstance(network.maxout, Maxout) == (k > 1)
        assert network.fc1.out_features == k * network.fc2.in_features


# --- weights ---


def test_weights_are_held_at_zero_through_training_and_later_cuts(story):
    events, checkpoints = of_kind(story[0], "weights"), story[2]
    assert [event["iteration"] for event in events] == [3, 4]
    assert [event["layers"]["fc1"]["value"] for event in events] == pytest.approx([0.7 * (1 - 0.5**3), 0.7])
    for event in events:
        state = checkpoints[event["iteration"]].state
        for name, entry in event["layers"].items():
            weight = state[f"{name}.weight"]
            assert entry["weights"] == weight.numel()
            assert entry["zeros"] == int((weight == 0).sum()) == int(entry["value"] * weight.numel() + 1e-9)
            assert float(weight[weight != 0].abs().min()) > 0
    assert checkpoints[4].sparse == checkpoints[5].sparse == ["conv1", "conv2", "fc1", "fc2"]
    removed = of_kind(story[0], "pruned")[2]["layers"]["fc1"]["cut"]
    stays = [i for i in range(8) if i not in removed]
    before, after = checkpoints[4].state, checkpoints[5].state
    assert torch.equal(before["fc1.weight"][stays] == 0, after["fc1.weight"] == 0)
    assert torch.equal(before["fc2.weight"][:, stays] == 0, after["fc2.weight"] == 0)


def test_dense_parameters_nonzero_parameters_and_bytes_are_counted_separately(story, tmp_path):
    for row in of_kind(story[0], "iteration"):
        made = story[2][row["iteration"]]
        tensors = made.state.values()
        assert row["parameters"] == sum(t.numel() for t in tensors)
        assert row["nonzero_parameters"] == sum(int((t != 0).sum()) for t in tensors)
        export(made, "safetensors", tmp_path / "dense")
        export(made, "sparse", tmp_path / "sparse")
        assert row["bytes_dense"] == (tmp_path / "dense").stat().st_size
        assert row["bytes_sparse"] == (tmp_path / "sparse").stat().st_size
    assert row["bytes_sparse"] < 0.6 * row["bytes_dense"]


def test_a_round_that_finds_the_layers_sparse_enough_is_skipped(make_spec):
    weights = {"layers": ["fc1"], "rule": "sparsity", "iterations": 2}
    asked = make_spec(step=[{**weights, "value": 0.9}, {**weights, "value": 0.5}, step("conv2")])
    events, _, _ = carry_out(asked)
    assert [e["kind"] for e in events if e["kind"] in ("weights", "pruned")] == ["weights", "weights", "pruned"]


def test_the_control_has_the_same_zero_weights_as_the_network(make_spec):
    asked = make_spec(step=[{"layers": ["fc1"], "rule": "sparsity", "value": 0.9}], control={"scratch": True})
    events, snapshots, made = carry_out(asked)
    last = snapshots[-1][1]["checkpoint"]["state"]["fc1.weight"]
    assert torch.equal(last == 0, made[1].state["fc1.weight"] == 0)
    assert not torch.equal(last, made[1].state["fc1.weight"])


# --- verification ---


def test_every_iteration_reports_its_verification():
    asked = spec.parse({
        "model": "lenet5-maxout", "options": {"width": 24}, "base": {"epochs": 1}, "retrain": {"epochs": 0},
        "verify": {"pairs": "test"}, "step": [{"layers": ["fc1"], "rule": "maxout", "value": 3}],
    })  # fmt: skip
    events, _, made = carry_out(asked)
    verified, rows = of_kind(events, "verified"), of_kind(events, "iteration")
    assert [event["iteration"] for event in verified] == [0, 1]
    assert [row["verification"] for row in rows] == [event["accuracy"] for event in verified]
    assert [row["verification_error"] for row in rows] == [event["standard_error"] for event in verified]
    assert {event["layer"] for event in verified} == {"fc2"}
    data = load_data("mnist-5k")
    network = made[1].build()
    again = verify_pairs(trace(network, torch.zeros(1, 1, 28, 28)), load_pairs("test", data), data, "cpu")
    assert (again.accuracy, again.pairs) == (verified[1]["accuracy"], verified[1]["count"])
    assert again.accuracy > 0.6  # guessing gives 0.5


# --- resuming ---


def test_a_run_resumed_from_any_snapshot_ends_bit_identical(asked, story):
    events, snapshots, made = story
    assert len(snapshots) > 10
    for seen, snapshot in snapshots:
        rest, _, again = carry_out(asked, resume=snapshot)
        assert timeless_csvs(events[:seen] + rest) == timeless_csvs(events)
        for iteration, checkpoint in again.items():
            for name, tensor in checkpoint.state.items():
                assert torch.equal(tensor, made[iteration].state[name]), (iteration, name)
            assert (checkpoint.units, checkpoint.sparse) == (made[iteration].units, made[iteration].sparse)


def test_below_the_limit_result_and_control_have_the_previous_units(make_spec):
    asked = make_spec(**{
        **WHOLE_STORY, "step": WHOLE_STORY["step"][:1], "stop": {"min_accuracy": 0.999}, "control": {"scratch": True},
        "retrain": {"epochs": 0},
    })  # fmt: skip
    events, snapshots, made = carry_out(asked)
    assert [row["k"]["fc1"] for row in of_kind(events, "iteration")] == [3, 2]
    assert events[-1]["result"] == 0
    assert of_kind(events, "control")[0]["parameters"] == of_kind(events, "iteration")[0]["parameters"]
    assert snapshots[-1][1]["units"] == snapshots[-1][1]["checkpoint"]["units"] == {"fc1": 3}
    assert snapshots[-1][1]["origins"] == made[0].origins
    for seen, snapshot in snapshots[-3:]:
        assert timeless_csvs(events[:seen] + carry_out(asked, resume=snapshot)[0]) == timeless_csvs(events)


# --- from a ReLU network ---

CONVERTED = {
    "base": {"epochs": 2, "batch_size": 32}, "convert": {"to": "maxout", "k": 5, "epochs": 1, "batch_size": 32},
    "step": [{"layers": ["fc1"], "rule": "maxout", "value": 2, "iterations": 3}],
}  # fmt: skip


def test_a_relu_network_is_grouped_retrained_and_pruned_to_a_plain_network(make_spec):
    asked = make_spec(**CONVERTED)
    events, snapshots, made = carry_out(asked)
    note, last = of_kind(events, "note")
    assert "nothing more to remove after iteration 2" in last["text"]
    assert "with ReLU" in note["text"]
    assert "the neurons of fc1 grouped into maxout units of 5" in note["text"]
    assert [row["k"] for row in of_kind(events, "iteration")] == [{"fc1": k} for k in (5, 3, 1)]
    assert [row["widths"]["fc1"] for row in of_kind(events, "iteration")] == [500, 300, 100]
    assert of_kind(events, "started")[0]["parameters"] == 54_074  # compared with the ReLU network
    assert units_of(made[1].build()) == {"relu3.maxout": 3}
    plain = made[2].build()
    assert [name for name, _ in plain.named_children()][-3:] == ["fc1", "relu3", "fc2"]
    assert plain.fc2.in_features == 100
    originals = made[0].origins["fc1"]
    assert sorted(originals) == list(range(500))
    assert originals != list(range(500))
    for cut in of_kind(events, "pruned"):
        fc1 = cut["layers"]["fc1"]
        assert fc1["original"] == [made[cut["iteration"] - 1].origins["fc1"][i] for i in fc1["cut"]]
    for seen, snapshot in snapshots:
        rest, _, again = carry_out(asked, resume=snapshot)
        assert timeless_csvs(events[:seen] + rest) == timeless_csvs(events)
        for name, tensor in again.get(2, made[2]).state.items():
            assert torch.equal(tensor, made[2].state[name])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"step": [step("fc1", rule="maxout", value=1)]}, "step 1: rule 'maxout' needs a layer with maxout units"),
        ({"model": "lenet5-maxout", "step": [step("conv2", rule="maxout", value=1)]},
         "step 1: layer 'conv2' has no maxout units; layers with units: fc1"),
        ({"step": [step("fc9", rule="sparsity", value=0.5)]},
         "step 1: 'fc9' has no weights to prune; layers with weights: conv1"),
        ({"convert": {"to": "maxout", "layers": ["fc2"]}}, "'fc2' cannot become a maxout layer; layers that can: fc1"),
        ({"convert": {"to": "maxout", "k": 7}}, "k = 7"),
        ({"options": {"k": 3}}, "lenet5 has no option 'k'"),
        ({"model": "lenet5-maxout", "options": {"width": 10}}, "width 10"),
    ],
)  # fmt: skip
def test_impossible_specs_are_refused_before_training(make_spec, changes, line):
    with pytest.raises(SpecError, match=line):
        _begin(make_spec(**changes))


def _begin(asked: spec.Spec) -> None:
    for event in trim(asked):
        assert event.kind == "started", "it was trained"


def test_masks_match_the_zero_weights(story):
    network = story[2][4].build()
    masks = magnitude.masks_of(network, story[2][4].sparse)
    assert set(masks) == {"conv1", "conv2", "fc1", "fc2"}
    assert all(torch.equal(mask, network.get_submodule(name).weight != 0) for name, mask in masks.items())
