"""Images without labels: the network that the run starts from says what is right."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trimcore.training.runs import carry_out, of_kind
from trimcore import data, spec
from trimcore.data.batches import Batches
from trimcore.errors import CheckpointError, DataError, SpecError
from trimcore.files import checkpoint

COUNT = 60


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Noise with a bright half, at several depths of a folder."""
    folder = tmp_path_factory.mktemp("unlabelled")
    random = np.random.RandomState(0)
    for number in range(COUNT):
        place = folder / ("deep/deeper" if number % 3 else "")
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.randint(0, 100, (16, 16, 3)).astype(np.uint8)
        half = slice(0, 8) if number % 2 else slice(8, 16)
        pixels[half] += 120
        Image.fromarray(pixels).save(place / f"{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def trained(make_spec, tmp_path_factory):
    """A network that was trained with labels, as a file of trimcore and as a plain state dict."""
    _, _, made = carry_out(make_spec(step=[]))
    folder = tmp_path_factory.mktemp("trained")
    checkpoint.save(made[0], folder / "made.pt")
    torch.save(made[0].state, folder / "plain.pt")
    return folder


def asked(images, trained, file="made.pt", **changes):
    return spec.parse({
        "data": f"unlabelled:{images}", "image_size": 16, "device": "cpu", "base": {"weights": str(trained / file)},
        "retrain": {"epochs": 2, "batch_size": 16},
        "step": [{"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.4}], **changes,
    })  # fmt: skip


def test_all_images_are_found_and_divided(images):
    found = data.load(f"unlabelled:{images}", image_size=16)
    assert [len(split) for split in (found.train, found.validation, found.test)] == [48, 6, 6]
    assert found.notes[0].startswith("60 images without labels; 48 to train, 6 for validation and 6 as the test")


@pytest.mark.parametrize("file", ["made.pt", "plain.pt"])
def test_the_metric_is_the_agreement_with_the_first_network(images, trained, file):
    """Computed by hand, with the teacher's answers and those of each iteration's network."""
    parsed = asked(images, trained, file)
    assert (parsed.task, parsed.distill.weight, parsed.base_epochs) == ("agreement", 1.0, 0)
    events, _, made = carry_out(parsed)
    assert events[0]["metric"] == {"name": "agreement", "higher_is_better": True, "percent": True}
    rows = of_kind(events, "iteration")
    loaded = data.load(parsed.data, image_size=16, channels=made[0].arguments["in_channels"])
    images_of_test = torch.cat([x for x, _ in Batches(loaded.test, loaded, 50, "cpu")])
    with torch.no_grad():
        teacher, trimmed = (made[i].build().eval()(images_of_test).argmax(1) for i in (0, 1))
    assert rows[0]["metric_final"] == rows[0]["validation_metric"] == 1.0
    assert rows[1]["metric_final"] == pytest.approx(float((teacher == trimmed).double().mean()))
    assert rows[1]["parameters"] < rows[0]["parameters"]
    assert "class_accuracy" not in rows[1]


def test_retraining_brings_the_network_closer_to_its_teacher(images, trained):
    events, _, _ = carry_out(asked(images, trained, retrain={"epochs": 10, "batch_size": 16}))
    losses = [event["loss"] for event in of_kind(events, "epoch")]
    assert losses[-1] < losses[0] / 2


def test_a_resumed_run_is_the_same_to_the_bit(images, trained):
    parsed = asked(images, trained)
    _, snapshots, made = carry_out(parsed)
    for _, snapshot in snapshots[1:]:
        _, _, again = carry_out(parsed, resume=snapshot)
        for iteration, own in again.items():
            assert all(torch.equal(tensor, made[iteration].state[name]) for name, tensor in own.state.items())


@pytest.mark.parametrize(("changes", "message"), [
    ({"base": {}}, "need a trained network: give base.weights"),
    ({"distill": {"weight": 0.5}}, "distill.weight must be 1"),
    ({"control": {"scratch": True}}, "no control"),
    ({"task": "classification"}, "images without labels are for task 'agreement'"),
    ({"data": "mnist-5k", "task": "agreement"}, "task 'agreement' is for images without labels"),
])  # fmt: skip
def test_what_needs_labels_is_refused(images, trained, changes, message):
    with pytest.raises(SpecError) as error:
        asked(images, trained, **changes)
    assert message in str(error.value)


def test_a_folder_without_images_and_a_file_without_layers_are_refused(tmp_path, images):
    with pytest.raises(DataError, match="contains no images"):
        data.load(f"unlabelled:{tmp_path}")
    torch.save({"a": torch.zeros(3)}, tmp_path / "flat.pt")
    with pytest.raises(CheckpointError, match="no weights of layers"):
        carry_out(asked(images, tmp_path, "flat.pt"))
