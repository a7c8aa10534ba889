"""Checkpoints that come through the browser: kept under their hash when they fit, refused in one line when not."""

import io
import pickle
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save

from dashboard import uploads
from trimcore import models, spec
from trimcore.errors import CheckpointError
from trimcore.surgery import prune

DRAFT = spec.Spec().model_dump(exclude_none=True)


def upload(content: bytes, name: str = "weights.pt"):
    return SimpleNamespace(name=name, file_id=name + str(hash(content)), getbuffer=lambda: memoryview(content))


def packed(state) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@pytest.fixture
def small():
    return prune(models.build("lenet5"), {"conv2": [1, 2], "fc1": range(100)}, torch.zeros(1, 1, 28, 28))


def test_weights_that_fit_are_kept_byte_for_byte_under_another_name(small, runs_folder):
    content = packed(small.state_dict())
    kept = uploads.keep_upload(upload(content, "../../evil.pt"), DRAFT)
    assert kept.parent == (runs_folder / ".uploads").resolve()
    assert "evil" not in kept.name
    assert kept.read_bytes() == content


def test_safetensors_are_taken_too(small, runs_folder):
    content = save({name: tensor.contiguous() for name, tensor in small.state_dict().items()})
    assert uploads.keep_upload(upload(content, "weights.safetensors"), DRAFT).suffix == ".safetensors"


class Payload:
    ran = False

    def __reduce__(self):
        return setattr, (Payload, "ran", True)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Payload()), packed({"conv1.weight": Payload()}), packed({1: torch.zeros(1)}),
        b"not a checkpoint", b"",
        packed(models.build("vgg16-small").state_dict()), packed(models.build("lenet5", num_classes=7).state_dict()),
        packed({"format": 1, "state": {}, "model": "lenet5", "widths": {}, "origins": {}, "base": {}, "arguments": {
            "num_classes": 10, "in_channels": 1, "image_size": 99_999}}),
    ],
    ids=["pickle", "pickled class", "a number as name", "text", "empty", "another network", "other classes", "huge"],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_and_nothing_is_kept(content, runs_folder):
    with pytest.raises(CheckpointError) as error:
        uploads.keep_upload(upload(content), DRAFT)
    assert "\n" not in str(error.value)
    assert not list((runs_folder / ".uploads").iterdir())
    assert not Payload.ran
