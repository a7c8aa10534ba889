"""The loop: the order of its events, rows checked by hand, choices compared with oracles, and resuming."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.trimcore.training.runs import (
    UNTRAINED,
    assert_resumes_identically,
    carry_out,
    cuts,
    of_kind,
    save_parent,
    step,
    timeless,
)
from trimcore import models
from trimcore.data import load as load_data
from trimcore.data.batches import Batches
from trimcore.errors import SpecError
from trimcore.files import checkpoint
from trimcore.files.checkpoint import Checkpoint
from trimcore.training.epoch import derive_seed
from trimcore.training.loop import trim


@pytest.fixture(scope="module")
def story(tiny):
    return carry_out(tiny)


# --- events and rows ---


def test_the_events_of_two_steps_are_in_order(make_spec):
    spec = make_spec(step=[step("conv2"), step("conv1", "fc1")], retrain={"epochs": 2}, control={"scratch": True})
    events, _, _ = carry_out(spec)
    iteration = ["pruned", "initial", "epoch", "epoch", "profiled", "iteration"]
    base = ["started", "epoch", "epoch", "profiled", "iteration"]
    assert [e["kind"] for e in events] == [*base, *iteration, *iteration, *["epoch"] * 6, "control", "ended"]
    assert [(e["phase"], e["iteration"], e["epoch"], e["epochs"]) for e in of_kind(events, "epoch")] == [
        ("base", 0, 1, 2), ("base", 0, 2, 2), ("retrain", 1, 1, 2), ("retrain", 1, 2, 2),
        ("retrain", 2, 1, 2), ("retrain", 2, 2, 2), *[("control", 2, epoch, 6) for epoch in range(1, 7)],
    ]  # fmt: skip
    assert [e["step"] for e in of_kind(events, "pruned")] == [0, 1]
    assert [len(e["layers"]) for e in of_kind(events, "pruned")] == [1, 2]
    assert events[-1] == {"kind": "ended", "reason": "all steps are done", "result": 2}


def test_the_started_event_describes_the_run(story, pictures):
    assert timeless(story[0])[0].items() >= {
        "model": "lenet5", "data": f"imagefolder:{pictures}", "seed": 3, "iterations": 2, "epochs": 2 + 2 * 1,
        "splits": {"train": 160, "validation": 20, "test": 20}, "image": [3, 16, 16],
        "classes": ["quarter0", "quarter1", "quarter2", "quarter3"], "parameters": 54_074, "macs": 343_000,
    }.items()  # fmt: skip


def test_the_rows_of_iterations_by_hand(story):
    """LeNet-5 on 3x16x16: conv1 outputs 12x12, conv2 2x2, so fc1 sees one position per channel."""
    rows = of_kind(story[0], "iteration")
    assert [row["widths"] for row in rows] == [
        {"conv1": 20, "conv2": conv2, "fc1": fc1, "fc2": 4} for conv2, fc1 in ((50, 500), (35, 350), (25, 245))
    ]
    parameters = [
        20 * 75 + 20 + conv2 * 20 * 25 + conv2 + fc1 * conv2 + fc1 + 4 * fc1 + 4
        for conv2, fc1 in ((50, 500), (35, 350), (25, 245))
    ]
    macs = [144 * 20 * 75 + 4 * c * 500 + c * f + 4 * f for c, f in ((50, 500), (35, 350), (25, 245))]
    assert (parameters[2], macs[2]) == (21_399, 273_105)
    assert [row["parameters"] for row in rows] == parameters
    assert [row["macs"] for row in rows] == macs
    assert [row["compression"] for row in rows] == pytest.approx([1, 54_074 / 33_059, 54_074 / 21_399])
    assert [row["macs_ratio"] for row in rows] == pytest.approx([1, 343_000 / 299_650, 343_000 / 273_105])
    assert [row["layers_trimmed"] for row in rows] == [[], ["conv2", "fc1"], ["conv2", "fc1"]]
    assert all(row["nonzero_parameters"] <= row["parameters"] for row in rows)


def test_only_the_base_has_no_initial_accuracy(story):
    events = story[0]
    initial = [None, *[event["accuracy"] for event in of_kind(events, "initial")]]
    assert [row["accuracy_initial"] for row in of_kind(events, "iteration")] == initial
    assert None not in initial[1:]


def test_accuracies_match_the_checkpoints(story, tiny):
    """The row has the accuracy of the saved network on the split that the column names."""
    from trimcore.evaluation.accuracy import evaluate

    data = load_data(tiny.data, image_size=16)
    for row in of_kind(story[0], "iteration"):
        network = story[2][row["iteration"]].build()
        test = evaluate(network, data.test, data, torch.device("cpu"))
        assert (row["accuracy_final"], row["loss_final"]) == (test.accuracy, pytest.approx(test.loss, rel=1e-4))
        assert row["validation_accuracy"] == evaluate(network, data.validation, data, torch.device("cpu")).accuracy


def test_progress_grows_to_one(make_spec):
    spec = make_spec(control={"scratch": True})
    seen = [event.data for event in trim(spec) if event.kind == "progress"]
    training = [data["fraction"] for data in seen if data["phase"] != "profile"]
    assert len(training) == 8 * 5  # 2 + 1 + 1 epochs and as many for the control, with five batches each
    assert training == pytest.approx([(i + 1) / 40 for i in range(40)])
    assert [data["fraction"] for data in seen] == sorted(data["fraction"] for data in seen)
    profiling = [(data["iteration"], data["step"], data["steps"]) for data in seen if data["phase"] == "profile"]
    assert profiling == [(0, 20, 20), (1, 20, 20), (2, 20, 20)]  # the validation split is one batch


def test_without_steps_the_base_is_trained_and_profiled(make_spec):
    events, _, _ = carry_out(make_spec(step=[], profile={"examples": 5}))
    assert [e["kind"] for e in events] == ["started", "epoch", "epoch", "profiled", "iteration", "ended"]
    assert (events[3]["examples"], events[-1]["result"]) == (5, 0)
    assert events[-1]["reason"] == "the base network is trained and profiled"


def test_a_step_that_finds_nothing_is_skipped_with_a_note(make_spec):
    nothing = step("conv2", rule="absolute", value=1.0, iterations=3)
    events, _, _ = carry_out(make_spec(step=[nothing, step("fc1", rule="keep", value=90, iterations=5), step("conv1")]))
    assert [e["text"] for e in of_kind(events, "note")] == [
        "step 1: nothing more to remove after iteration 0",
        "step 2: nothing more to remove after iteration 1",
    ]
    assert [(e["iteration"], e["step"]) for e in of_kind(events, "pruned")] == [(1, 1), (2, 2)]
    assert of_kind(events, "iteration")[-1]["widths"] == {"conv1": 17, "conv2": 50, "fc1": 90, "fc2": 4}


def test_one_layer_can_have_its_own_rule(make_spec):
    own = {"fc1": {"rule": "keep", "value": 7}}
    events, _, _ = carry_out(make_spec(step=[step("all", layer=own)], **UNTRAINED))
    assert of_kind(events, "iteration")[1]["widths"] == {"conv1": 17, "conv2": 47, "fc1": 7, "fc2": 4}
    assert {n: (d["rule"], d["value"]) for n, d in of_kind(events, "pruned")[0]["layers"].items()} == {
        "conv1": ("count", 3), "conv2": ("count", 3), "fc1": ("keep", 7),
    }  # fmt: skip


# --- which neurons are removed ---


def test_cuts_are_by_index_in_the_base_model(make_spec):
    """The network is untrained and only conv2 is cut, so its APoZ never changes and the removals follow one ranking."""
    events, _, _ = carry_out(make_spec(step=[step("conv2", iterations=3)], **UNTRAINED))
    apoz = of_kind(events, "profiled")[0]["layers"]["conv2"]["apoz"]
    ranking = sorted(range(50), key=lambda i: (-apoz[i], i))
    assert cuts(events, "conv2") == [sorted(ranking[k : k + 3]) for k in (0, 3, 6)]
    spared, extra = ranking[:2], ranking[-1]
    asked = step("conv2", iterations=3, never_cut={"conv2": spared}, also_cut={"conv2": [extra]})
    events, _, _ = carry_out(make_spec(step=[asked], **UNTRAINED))
    assert cuts(events, "conv2") == [sorted([ranking[2], extra]), [ranking[3]], [ranking[4]]]


def test_a_neuron_keeps_its_base_index_and_its_weights(make_spec):
    spec = make_spec(step=[step("conv1", "conv2", "fc1", iterations=3)], **UNTRAINED)
    events, _, made = carry_out(spec)
    for profiled in of_kind(events, "profiled"):
        state, iteration = made[profiled["iteration"]].state, profiled["iteration"]
        conv1, conv2, fc1 = (profiled["layers"][name]["original"] for name in ("conv1", "conv2", "fc1"))
        assert (len(conv1), len(conv2), len(fc1)) == (20 - 3 * iteration, 50 - 3 * iteration, 500 - 3 * iteration)
        base = made[0].state
        assert torch.equal(state["conv1.weight"], base["conv1.weight"][conv1])
        assert torch.equal(state["conv2.weight"], base["conv2.weight"][conv2][:, conv1])
        assert torch.equal(state["fc1.weight"], base["fc1.weight"][fc1][:, conv2])
        assert torch.equal(state["fc2.weight"], base["fc2.weight"][:, fc1])
        assert torch.equal(state["fc2.bias"], base["fc2.bias"])


def chosen_by(criterion: str, make_spec, **more) -> tuple[list[dict], Checkpoint]:
    spec = make_spec(step=[step("conv2", "fc1", value=10, criterion=criterion, iterations=2)], **more)
    events, _, made = carry_out(spec)
    return events, made[0]


def lowest(scores: torch.Tensor, count: int = 10) -> list[int]:
    return sorted(scores.argsort(stable=True)[:count].tolist())


def test_l1_removes_the_neurons_with_the_smallest_weights(make_spec):
    events, base = chosen_by("l1", make_spec)
    for layer in ("conv2", "fc1"):
        assert cuts(events, layer)[0] == lowest(base.state[f"{layer}.weight"].double().abs().flatten(1).sum(1))


def test_mean_activation_removes_the_least_active_neurons(make_spec):
    events, base = chosen_by("mean-activation", make_spec)
    network, seen = base.build().eval(), {}
    network.relu2.register_forward_hook(lambda m, x, y: seen.update(conv2=y.double().mean((0, 2, 3))))
    network.relu3.register_forward_hook(lambda m, x, y: seen.update(fc1=y.double().mean(0)))
    data = load_data(make_spec().data, image_size=16)
    for x, _ in Batches(data.validation, data, 500, "cpu"):
        network(x)
    assert {layer: cuts(events, layer)[0] for layer in seen} == {layer: lowest(seen[layer]) for layer in seen}


def test_random_depends_on_seed_and_iteration(make_spec):
    first, again, other = (cuts(chosen_by("random", make_spec, seed=seed)[0], "fc1") for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert [len(cut) for cut in first] == [10, 10]
    assert not set(first[0]) & set(first[1])


# --- the end and the control ---


@pytest.fixture(scope="module")
def falling(make_spec):
    """A mild cut, then one neuron per layer; the limit is between their validation accuracies."""
    steps = [step("fc1", value=20), step("all", rule="keep", value=1)]
    free = make_spec(step=steps, control={"scratch": True}, base={"epochs": 8})
    mild, hard = [row["validation_accuracy"] for row in of_kind(carry_out(free)[0], "iteration")][1:]
    assert hard < mild
    return free.model_copy(update={"stop": free.stop.model_copy(update={"min_accuracy": (mild + hard) / 2})})


def test_below_the_limit_the_previous_iteration_is_the_result(falling):
    events, _, _ = carry_out(falling)
    assert (events[-1]["kind"], events[-1]["result"]) == ("ended", 1)
    assert "iteration 2, below min_accuracy" in events[-1]["reason"]
    assert len(of_kind(events, "iteration")) == 3  # the iteration that fell is reported too
    control = of_kind(events, "control")[0]
    assert control["parameters"] == of_kind(events, "iteration")[1]["parameters"]
    assert control["epochs"] == 8 + 1  # the epochs of the result, without the last retraining


def test_the_base_itself_never_ends_the_run(make_spec):
    events, _, _ = carry_out(make_spec(stop={"min_accuracy": 1.0}))
    assert [e["iteration"] for e in of_kind(events, "iteration")] == [0, 1]
    assert events[-1]["result"] == 0


def test_the_control_has_the_final_widths_and_new_weights(make_spec):
    """With a learning rate of nearly zero, the control keeps its initial weights: the builder's, from its own seed."""
    still = {"epochs": 1, "lr": 1e-30, "momentum": 0, "weight_decay": 0}
    events, snapshots, made = carry_out(make_spec(base=still, retrain=still, control={"scratch": True}))
    control = snapshots[-1][1]["checkpoint"]
    assert control["widths"] == made[2].widths
    assert of_kind(events, "control")[0]["parameters"] == of_kind(events, "iteration")[2]["parameters"]
    torch.manual_seed(derive_seed(3, "control"))
    fresh = models.renew("lenet5", made[2].build()).state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in control["state"].items())
    assert not torch.equal(control["state"]["conv1.weight"], made[2].state["conv1.weight"])


# --- errors before training ---


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (step("conv9"), "conv9.*trimmable layers: conv1, conv2, fc1"),
        (step("fc2"), "fc2.*output of the network"),
        (step("all", layer={"fc9": {}}), "fc9"),
        (step("all", also_cut={"fc2": [1]}), "fc2"),
        (step("conv1", also_cut={"conv1": [3, 20]}), "conv1.*0 to 19.*20"),
        (step("conv1", never_cut={"conv1": [99]}), "conv1.*0 to 19.*99"),
    ],
)
def test_unknown_layers_and_neurons_are_refused(make_spec, asked, message):
    with pytest.raises(SpecError, match=f"step 2.*{message}") as error:
        next(trim(make_spec(step=[step("conv1"), asked])))
    assert "\n" not in str(error.value)


def test_a_plan_that_would_empty_a_layer_keeps_its_most_active_neuron(make_spec):
    everything = step("conv1", "fc1", value=0, also_cut={"conv1": list(range(20))})
    events, _, _ = carry_out(make_spec(step=[everything], **UNTRAINED))
    apoz = of_kind(events, "profiled")[0]["layers"]["conv1"]["apoz"]
    stays = min(range(20), key=lambda i: (apoz[i], -i))
    assert cuts(events, "conv1") == [[i for i in range(20) if i != stays]]


# --- the test split ---


def test_the_test_split_has_no_influence(falling):
    data = load_data(falling.data, image_size=16)
    wrong = replace(data, test=replace(data.test, labels=(data.test.labels + 1) % 4))
    honest, misled = carry_out(falling, data=data)[0], carry_out(falling, data=wrong)[0]
    assert [r["accuracy_final"] for r in of_kind(honest, "iteration")] != [
        r["accuracy_final"] for r in of_kind(misled, "iteration")
    ]
    for kind in ("pruned", "profiled", "epoch", "ended"):
        assert timeless(of_kind(honest, kind)) == timeless(of_kind(misled, kind))


# --- resuming and branching ---


@pytest.fixture
def noisy_model(monkeypatch, registry):
    """A network with hidden state: BatchNorm's buffers and dropout's random numbers."""

    @models.register("noisy", "for a test")
    def noisy(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        conv = [nn.Conv2d(in_channels, 12, 5, stride=2), nn.BatchNorm2d(12), nn.ReLU(), nn.Dropout(0.3)]
        return nn.Sequential(*conv, nn.Flatten(), nn.Linear(12 * 36, 20), nn.ReLU(), nn.Linear(20, num_classes))


def test_a_run_resumed_from_any_snapshot_ends_bit_identical(make_spec, noisy_model):
    steps = [step("0", "5", rule="fraction", value=0.2, iterations=2), step("5", criterion="random", value=2)]
    retrain = {"epochs": 2, "augment": "shift+flip"}
    spec = make_spec(model="noisy", step=steps, retrain=retrain, control={"scratch": True}, base={"epochs": 2})
    assert assert_resumes_identically(spec) == 2 + 1 + 3 * (1 + 2 + 1) + 8


def test_a_run_resumed_before_the_accuracy_falls_has_the_same_control(falling):
    assert_resumes_identically(falling, every=3)


def test_further_training_does_not_change_a_snapshot_in_memory(make_spec, noisy_model):
    spec = make_spec(model="noisy", step=[step("0", "5")], retrain={"epochs": 2})
    assert_resumes_identically(spec, through_file=False)
    whole, snapshots, _ = carry_out(spec)
    middle = snapshots[0][1]
    first = carry_out(spec, resume=middle)[0]
    assert timeless(first) == timeless(carry_out(spec, resume=middle)[0])


def test_a_branch_starts_with_its_parents_weights_and_indices(story, make_spec, tmp_path):
    events, _, made = story
    asked = step("conv2", "fc1", rule="fraction", value=0.3)
    spec = make_spec(step=[asked], parent=save_parent(made[1], tmp_path))
    branch, _, from_here = carry_out(spec, runs=tmp_path)
    assert not [e for e in of_kind(branch, "epoch") if e["phase"] == "base"]
    assert all(torch.equal(tensor, made[1].state[name]) for name, tensor in from_here[0].state.items())
    row, parents = of_kind(branch, "iteration")[0], of_kind(events, "iteration")[1]
    same = ("parameters", "compression", "macs", "macs_ratio", "widths", "accuracy_final", "validation_accuracy")
    assert {key: row[key] for key in same} == {key: parents[key] for key in same}
    assert row["compression"] == pytest.approx(54_074 / 33_059)
    assert timeless(of_kind(branch, "profiled"))[0]["layers"] == of_kind(events, "profiled")[1]["layers"]
    assert cuts(branch, "fc1")[0] == cuts(events, "fc1")[1]  # the same cut as the parent's next one, same indices


def test_a_branch_with_other_data_is_refused(story, make_spec, tmp_path):
    parent = save_parent(story[2][0], tmp_path)
    with pytest.raises(SpecError, match="iteration 0 of mother is a lenet5 with other options or for other data"):
        next(trim(make_spec(parent=parent, image_size=20), runs=tmp_path))
    with pytest.raises(SpecError, match="needs the runs folder"):
        next(trim(make_spec(parent=parent)))


def test_weights_from_a_file_are_not_trained_again(story, make_spec, tmp_path):
    made = copy.copy(story[2][2])
    torch.save(made.build().state_dict(), tmp_path / "weights.pt")
    checkpoint.save(made, tmp_path / "iteration.pt")
    plain, _, _ = carry_out(make_spec(step=[], base={"weights": str(tmp_path / "weights.pt")}))
    own, _, _ = carry_out(make_spec(step=[], base={"weights": str(tmp_path / "iteration.pt")}))
    assert not of_kind(plain, "epoch")
    for events, compression in ((plain, 1.0), (own, 54_074 / 21_399)):  # only a trimcore checkpoint knows its base
        row = of_kind(events, "iteration")[0]
        assert (row["parameters"], row["compression"]) == (21_399, pytest.approx(compression))
        assert row["accuracy_final"] == of_kind(story[0], "iteration")[2]["accuracy_final"]
    assert of_kind(own, "profiled")[0]["layers"]["fc1"]["original"] == made.origins["fc1"]


# --- momentum over the cut


def test_momentum_is_carried_over_only_with_keep_momentum(make_spec):
    """With `keep_momentum`, the first snapshot after a cut has the momentum of the kept weights; otherwise none."""
    states = {}
    for kept in (False, True):
        asked = make_spec(step=[step("conv2")], retrain={"keep_momentum": kept})
        events, snapshots, _ = carry_out(asked)
        number = next(i for i, e in enumerate(events) if e["kind"] == "initial")
        before = next(content for count, content in reversed(snapshots) if count <= number and content["optimizer"])
        after = next(content for count, content in snapshots if count == number + 1)
        states[kept] = before["optimizer"], after["optimizer"]
        assert after["phase"] == "retrain"
        gone = set(cuts(events, "conv2")[0])
    assert states[False][1] is None
    full, small = states[True]
    lr = {group["weight_decay"] for group in small["param_groups"]}
    assert lr == {asked.retrain.weight_decay, 0.0}
    shapes = [tuple(s["momentum_buffer"].shape) for s in full["state"].values()]
    place = shapes.index((50, 20, 5, 5))
    kept = [i for i in range(50) if i not in gone]
    whole, part = (state["state"][place]["momentum_buffer"] for state in (full, small))
    assert torch.equal(part, whole[kept])


def test_a_run_with_kept_momentum_resumes_bit_identical(make_spec):
    asked = make_spec(step=[step("conv2", iterations=2)], retrain={"keep_momentum": True})
    events, snapshots, made = carry_out(asked)
    last = made[2].state
    for _, content in [s for s in snapshots if s[1]["phase"] == "retrain"]:
        _, _, again = carry_out(asked, resume=copy.deepcopy(content))
        assert all(torch.equal(again[2].state[name], last[name]) for name in last)


def test_a_run_warns_if_little_can_be_removed(make_spec, registry):
    @models.register("normalised", "a layer under a LayerNorm, then two neurons", min_size=4)
    def normalised(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        wide, norm = nn.Linear(in_channels * image_size**2, 60), nn.LayerNorm(60)
        return nn.Sequential(nn.Flatten(), wide, norm, nn.Linear(60, 2), nn.ReLU(), nn.Linear(2, num_classes))

    warned, _, _ = carry_out(make_spec(model="normalised", step=[], **UNTRAINED))
    (note,) = of_kind(warned, "note")
    why = "most of the rest cannot because an operation normalises over all channels together."
    assert (note["level"], note["text"]) == ("warning", f"3 % of the neurons can be removed; {why}")
    quiet, _, _ = carry_out(make_spec(step=[], **UNTRAINED))
    assert of_kind(quiet, "note") == []
    assert of_kind(quiet, "started")[0]["trimmable"].startswith("99 % of the neurons can be removed")


def test_a_network_without_trimmable_layers_is_refused(make_spec):
    @models.register("only-scores", "one layer", min_size=4)
    def only_scores(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))

    try:
        with pytest.raises(SpecError, match="no layer of this Sequential can be trimmed: it is an output"):
            next(trim(make_spec(model="only-scores", step=[step("all")])))
    finally:
        del models.REGISTRY["only-scores"]


def test_a_frozen_neuron_in_also_cut_is_refused_before_training(make_spec):
    class Partly(nn.Module):
        """The first two neurons also reach an operation without a rule."""

        def __init__(self, inputs: int, classes: int):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(inputs, 2), nn.Linear(inputs, 4), nn.Linear(6, classes)
            self.d = nn.Linear(inputs, 6)

        def forward(self, x):
            x = x.flatten(1)
            d, a, b = self.d(x), torch.relu(self.a(x)), torch.relu(self.b(x))
            return self.c(torch.relu(torch.cat([a, b], 1) + d)) + a.cumsum(1).amax()

    @models.register("partly", "partly frozen", min_size=4)
    def partly(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        return Partly(in_channels * image_size**2, num_classes)

    try:
        asked = make_spec(model="partly", step=[step("d", value=1, also_cut={"d": [3]})], **UNTRAINED)
        assert 3 in cuts(carry_out(asked)[0], "d")[0]
        with pytest.raises(SpecError, match="step 1: neuron 1 of layer 'd' cannot be removed: it is frozen"):
            next(trim(make_spec(model="partly", step=[step("d", also_cut={"d": [1]})])))
    finally:
        del models.REGISTRY["partly"]
