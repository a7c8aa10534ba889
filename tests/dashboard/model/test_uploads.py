"""Uploaded checkpoints: stored under their hash if they fit, otherwise rejected with one line."""

import io
import pickle
from types import SimpleNamespace

import pytest
import streamlit as st
import torch
from safetensors.torch import save
from streamlit.testing.v1 import AppTest

from dashboard.model import uploads
from trimcore import models, spec
from trimcore.errors import CheckpointError, RunError
from trimcore.surgery.cut import prune

DRAFT = spec.Spec().model_dump(exclude_none=True)


def upload(content: bytes, name: str = "weights.pt"):
    return SimpleNamespace(name=name, file_id=name + str(hash(content)), getbuffer=lambda: memoryview(content))


def packed(state) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@pytest.fixture(autouse=True)
def session(monkeypatch):
    """A separate browser session for each test."""
    monkeypatch.setattr(st, "session_state", SimpleSession())


class SimpleSession(dict):
    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__


@pytest.fixture
def small():
    return prune(models.build("lenet5"), {"conv2": [1, 2], "fc1": range(100)}, torch.zeros(1, 1, 28, 28))


def test_fitting_weights_are_stored_unchanged_under_another_name(small, runs_folder):
    content = packed(small.state_dict())
    kept = uploads.store_upload(upload(content, "../../evil.pt"), DRAFT).path
    assert kept.parent == (runs_folder / ".uploads").resolve()
    assert "evil" not in kept.name
    assert kept.read_bytes() == content


def test_safetensors_are_accepted(small, runs_folder):
    content = save({name: tensor.contiguous() for name, tensor in small.state_dict().items()})
    assert uploads.store_upload(upload(content, "weights.safetensors"), DRAFT).path.suffix == ".safetensors"


def test_a_prefix_is_removed_and_reported(small, runs_folder):
    content = packed({"state_dict": {f"module.{name}": tensor for name, tensor in small.state_dict().items()}})
    kept = uploads.store_upload(upload(content), DRAFT)
    assert kept.adjustments == ("taken from its entry 'state_dict'", "without the prefix 'module.'")
    assert kept.path.read_bytes() == content
    with pytest.MonkeyPatch.context() as patched:  # the same content is recognized
        patched.setattr(st, "session_state", SimpleSession())
        assert uploads.store_upload(upload(content, "again.pt"), DRAFT) == kept


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
def test_a_misfit_is_a_one_line_error_and_is_not_stored(content, runs_folder):
    with pytest.raises(CheckpointError) as error:
        uploads.store_upload(upload(content), DRAFT)
    assert "\n" not in str(error.value)
    assert not list((runs_folder / ".uploads").iterdir())
    assert not Payload.ran


def test_an_error_has_the_uploaded_name_and_the_mismatches(runs_folder):
    content = packed(models.build("lenet5", num_classes=7).state_dict())
    for _ in range(2):  # the second time from the cache
        with pytest.raises(CheckpointError, match="^'mine.pt' does not fit lenet5: 2 of another shape") as error:
            uploads.store_upload(upload(content, "mine.pt"), DRAFT)
        assert "the last layer has 7 outputs, but the data have 10 classes; head = " in str(error.value)
        assert [m.name for m in error.value.mismatches] == ["fc2.weight", "fc2.bias"]


def test_a_rejected_file_is_read_once(runs_folder, monkeypatch):
    read = []
    monkeypatch.setattr(uploads, "_store", lambda *_: read.append(1) or throw(CheckpointError("no")))
    for _ in range(3):
        with pytest.raises(CheckpointError, match="no"):
            uploads.store_upload(upload(b"1"), DRAFT)
    with pytest.raises(CheckpointError, match="no"):
        uploads.store_upload(upload(b"1"), {**DRAFT, "model": "vgg16-small"})
    assert len(read) == 2


def throw(error: Exception):
    raise error


def test_an_unwritable_folder_is_retried(runs_folder):
    runs_folder.write_text("a file")
    content = packed(models.build("lenet5").state_dict())
    with pytest.raises(RunError, match="cannot store the upload"):
        uploads.store_upload(upload(content), DRAFT)
    runs_folder.unlink()
    assert uploads.store_upload(upload(content), DRAFT).path.is_file()


def test_the_page_shows_the_mismatches_as_a_table(runs_folder):
    def page():
        from dashboard.model import uploads
        from trimcore.errors import CheckpointError
        from trimcore.files.mismatch import Mismatch

        uploads.show_rejection(CheckpointError("it *does* not fit", [Mismatch("a.weight", "missing", None, "3 × 4")]))

    app = AppTest.from_function(page).run()
    assert not app.exception
    assert app.error[0].value == r"it \*does\* not fit"
    assert app.dataframe[0].value.to_dict("records") == [
        {"tensor": "a.weight", "problem": "missing", "in the file": "—", "in the model": "3 × 4"}
    ]


def test_all_but_the_head_are_taken_if_the_user_says_so(runs_folder):
    content = packed({"model": models.build("lenet5", num_classes=7).state_dict()})
    asked = {**DRAFT, "base": {**DRAFT["base"], "head": "new"}}
    with pytest.raises(CheckpointError):
        uploads.store_upload(upload(content), DRAFT)
    kept = uploads.store_upload(upload(content), asked)
    assert kept.adjustments == ("taken from its entry 'model'", "with new weights in 'fc2.weight', 'fc2.bias'")
    assert spec.parse({"base": {"weights": str(kept.path), "head": "new"}}).base_epochs == 12
