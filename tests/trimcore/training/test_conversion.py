"""The conversion of a run's GELU network to ReLU: its settings, its course, interruptions and branches."""

import math

import pytest
import torch
from torch import nn

from tests.trimcore.training.runs import assert_resumes_identically, carry_out, of_kind, save_parent, step, timeless
from trimcore import models, spec, tables
from trimcore.data import Data
from trimcore.data import load as load_data
from trimcore.data.batches import Batches
from trimcore.errors import CheckpointError, SpecError
from trimcore.evaluation.accuracy import evaluate
from trimcore.files import checkpoint
from trimcore.files.checkpoint import Checkpoint
from trimcore.layers import sharpened
from trimcore.timing import latency
from trimcore.training import state
from trimcore.training.loop import trim

ASKED = {"to": "relu", "epochs": 3, "batch_size": 32}


@pytest.fixture(scope="module")
def wavy():
    """A small network with GELU, SiLU, dropout and BatchNorm, for 16 pixels, registered under that name."""

    @models.register("wavy", "for a test")
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        conv = [nn.Conv2d(in_channels, 12, 5, stride=2), nn.BatchNorm2d(12), nn.GELU(), nn.Dropout(0.3)]
        return nn.Sequential(*conv, nn.Flatten(), nn.Linear(12 * 36, 20), nn.SiLU(), nn.Linear(20, num_classes))

    yield "wavy"
    models.REGISTRY.pop("wavy")


@pytest.fixture(scope="module")
def asked(wavy, make_spec) -> spec.Spec:
    """Two base epochs, three conversion epochs (15 steps), one cut, one retraining epoch, and six control epochs."""
    return make_spec(model=wavy, convert=ASKED, step=[step("0", "5")], control={"scratch": True})


@pytest.fixture(scope="module")
def story(asked):
    return carry_out(asked)


@pytest.fixture(scope="module")
def data(make_spec) -> Data:
    return load_data(make_spec().data, image_size=16)


def activations_of(made: Checkpoint) -> list[type]:
    network = made.build()
    return [type(network[2]), type(network[6])]


def phases(events: list[dict]) -> list[str]:
    return [event["phase"] for event in of_kind(events, "epoch")]


# --- settings ---


def test_conversion_is_off_by_default():
    found = spec.loads("")
    assert (found.convert.to, found.convert.epochs, found.convert.lr, found.convert_epochs) == ("", 4, 0.01, 0)
    assert spec.loads('[convert]\nto = "relu"').convert_epochs == 4
    assert spec.loads('[convert]\nto = "relu"\nepochs = 0').convert_epochs == 0
    again = spec.loads('[convert]\nto = "relu"\nepochs = 7\nlr = 0.5\naugment = "shift"')
    assert spec.loads(spec.dumps(again)) == again


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('to = "gelu"', "convert.to = 'gelu'"),
        ("epochs = -1", "convert.epochs = -1"),
        ("sharpness = 160", "unknown key 'convert.sharpness'; expected one of epochs, batch_size, optimizer.* to"),
    ],
)
def test_invalid_settings_are_refused_by_name(text, message):
    with pytest.raises(SpecError, match=message) as error:
        spec.loads(f"[convert]\n{text}")
    assert "\n" not in str(error.value)


def test_a_network_without_smooth_modules_is_refused_before_training(make_spec):
    with pytest.raises(SpecError, match="^lenet5 has no GELU, SiLU or Hardswish module to convert$"):
        next(trim(make_spec(convert=ASKED)))


@pytest.mark.parametrize("convert", [{}, {"to": "relu", "epochs": 0}, {"epochs": 3}])
def test_without_conversion_nothing_changes(wavy, make_spec, convert):
    events, _, made = carry_out(make_spec(model=wavy, step=[], convert=convert))
    assert phases(events) == ["base", "base"]
    assert activations_of(made[0]) == [nn.GELU, nn.SiLU]
    assert (made[0].activations, of_kind(events, "iteration")[0]["activations"]) == ("", "")


# --- course ---


def test_conversion_comes_between_the_base_and_its_profile(story):
    events = story[0]
    kinds = ["started", *["epoch"] * 2, "note", *["epoch"] * 3, "profiled", "iteration", "pruned"]
    assert [e["kind"] for e in events][: len(kinds)] == kinds
    assert [(e["phase"], e["iteration"], e["epoch"], e["epochs"]) for e in of_kind(events, "epoch")] == [
        ("base", 0, 1, 2), ("base", 0, 2, 2), *[("convert", 0, epoch, 3) for epoch in (1, 2, 3)],
        ("retrain", 1, 1, 1), *[("control", 1, epoch, 6) for epoch in range(1, 7)],
    ]  # fmt: skip
    assert phases(events) == tables.epochs(events).phase.tolist()


def test_the_accuracy_before_conversion_is_noted(story, wavy, make_spec):
    """It is the accuracy of the same run without a conversion."""
    smooth_base = of_kind(carry_out(make_spec(model=wavy, step=[]))[0], "iteration")[0]
    assert [note["text"] for note in of_kind(story[0], "note")] == [
        f"test accuracy {smooth_base['accuracy_final']:.2%} with GELU and SiLU; converting to ReLU over 3 epochs"
    ]


def test_the_converted_base_is_a_relu_network_of_the_same_size(story, data):
    events, _, made = story
    rows = of_kind(events, "iteration")
    assert (rows[0]["compression"], rows[0]["macs_ratio"]) == (1.0, 1.0)
    assert [made[k].epochs for k in (0, 1)] == [2 + 3, 2 + 3 + 1]
    for iteration, row in enumerate(rows):
        assert activations_of(made[iteration]) == [nn.ReLU, nn.ReLU]
        assert row["activations"] == "relu"
        measured = evaluate(made[iteration].build(), data.test, data, torch.device("cpu"))
        assert row["accuracy_final"] == measured.accuracy


def test_the_profile_counts_the_exact_zeros_of_the_relu_network(story, data):
    network, zeros = story[2][0].build().eval(), []
    network[6].register_forward_hook(lambda m, x, y: zeros.append(y == 0))
    for x, _ in Batches(data.validation, data, 500, "cpu"):
        network(x)
    share = torch.cat(zeros).double().mean(0)
    assert share.mean() > 0.05
    assert of_kind(story[0], "profiled")[0]["layers"]["5"]["apoz"] == pytest.approx(share.tolist(), abs=1e-6)


def test_every_step_sets_its_sharpness_and_validation_uses_the_last(asked, monkeypatch):
    seen, shown = [], []
    plain = sharpened.set_sharpness

    def watched(network, sharpness):
        seen.append(sharpness)
        shown.append([m.sharpness for m in network.modules() if isinstance(m, sharpened.Sharpened)])
        plain(network, sharpness)

    monkeypatch.setattr(sharpened, "set_sharpness", watched)
    carry_out(asked)
    assert seen == [sharpened.sharpness_at(place, 15) for place in range(15)]
    assert shown[1:] == [[sharpness] * 2 for sharpness in seen[:-1]]
    assert seen[-3:] == [math.inf] * 3


def test_the_control_is_also_a_relu_network(story):
    last = Checkpoint(**story[1][-1][1]["checkpoint"])
    assert activations_of(last) == [nn.ReLU, nn.ReLU]
    assert of_kind(story[0], "control")[0]["epochs"] == 6


def test_latency_is_compared_with_the_converted_base(asked, monkeypatch):
    """GELU is slower than ReLU; the time saved by the conversion must not be credited to the cuts."""
    compared, plain = [], latency.compare_latency

    def watched(before, after, *how):
        compared.append((before, after))
        return plain(before, after, *how)

    monkeypatch.setattr(latency, "compare_latency", watched)
    carry_out(asked)
    assert len(compared) == 4  # batches of two sizes, two iterations
    for before, after in compared:
        assert [type(net[k]) for net in (before, after) for k in (2, 6)] == [nn.ReLU] * 4
        assert before[0].out_channels == 12


def test_progress_counts_the_conversion_epochs(asked):
    training = [
        event.data["fraction"] for event in trim(asked) if event.kind == "progress" and event.data["phase"] != "profile"
    ]
    assert training == pytest.approx([(i + 1) / 60 for i in range(60)])  # 12 epochs of five batches


# --- interrupted ---


def test_a_run_resumed_from_any_snapshot_ends_bit_identical(asked):
    assert assert_resumes_identically(asked) == 2 + 1 + 3 + 1 + (1 + 1 + 1) + 6


def test_a_snapshot_without_conversion_entries_can_be_restored(make_spec):
    whole, snapshots, _ = carry_out(make_spec())
    old = {key: value for key, value in snapshots[0][1].items() if key not in ("activations", "convert_epochs")}
    del old["checkpoint"]["activations"]
    assert state.restore(old).activations == ""
    again = carry_out(make_spec(), resume=old)[0]
    assert timeless(again[-2:]) == timeless(whole[-2:])


# --- branched, and from files ---


def branch_from(made: Checkpoint, make_spec, folder, **more):
    parent = save_parent(made, folder)
    return carry_out(make_spec(model="wavy", convert=ASKED, parent=parent, **more), runs=folder)


def test_a_branch_from_a_converted_network_does_not_convert_again(story, make_spec, tmp_path):
    events, _, made = branch_from(story[2][1], make_spec, tmp_path, step=[step("5")])
    assert phases(events) == ["retrain"]
    assert "has already been converted" in of_kind(events, "note")[0]["text"]
    assert events[0]["epochs"] == 1
    assert activations_of(made[1]) == [nn.ReLU, nn.ReLU]
    assert of_kind(events, "iteration")[0]["accuracy_final"] == of_kind(story[0], "iteration")[1]["accuracy_final"]


def test_a_branch_from_a_smooth_network_can_convert(wavy, make_spec, tmp_path):
    _, _, mother = carry_out(make_spec(model=wavy, step=[step("5")]))
    events, _, made = branch_from(mother[1], make_spec, tmp_path, step=[])
    assert phases(events) == ["convert"] * 3
    assert activations_of(mother[1]) == [nn.GELU, nn.SiLU]
    assert activations_of(made[0]) == [nn.ReLU, nn.ReLU]
    assert made[0].widths == mother[1].widths


def test_weights_from_a_file_can_be_converted(wavy, make_spec, tmp_path):
    torch.save(models.build(wavy, 4, 3, 16).state_dict(), tmp_path / "weights.pt")
    asked = make_spec(model=wavy, convert=ASKED, step=[], base={"weights": str(tmp_path / "weights.pt")})
    events, _, made = carry_out(asked)
    assert phases(events) == ["convert"] * 3
    assert activations_of(made[0]) == [nn.ReLU, nn.ReLU]


def test_a_file_records_its_activations(story, tmp_path):
    path, made = tmp_path / "made.pt", story[2][1]
    for write, name in ((checkpoint.save_safetensors, "made.safetensors"), (checkpoint.save, "made.pt")):
        write(made, tmp_path / name)
        read = checkpoint.load(tmp_path / name)
        for found in (read, checkpoint.load_weights(tmp_path / name, made.model, made.arguments)):
            assert found.activations == "relu"
            assert activations_of(found) == [nn.ReLU, nn.ReLU]
    old = torch.load(path, weights_only=True)
    del old["activations"], old["checksum"]
    torch.save(old, path)
    assert activations_of(checkpoint.load(path)) == [nn.GELU, nn.SiLU]


@pytest.mark.parametrize(("value", "message"), [("tanh", "activations 'tanh'"), (3, "of type int, not str")])
def test_unknown_activations_in_a_file_are_refused(story, tmp_path, value, message):
    content = {"format": checkpoint.FORMAT, **vars(story[2][0]), "activations": value}
    torch.save(content, tmp_path / "made.pt")
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(tmp_path / "made.pt")
