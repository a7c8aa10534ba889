"""The last two resume points: which are kept, which is found, and that there is always an intact one."""

import json
import os

import pytest
import torch

from trimcore.errors import CheckpointError
from trimcore.files import checkpoint, checksum
from trimcore.jobs import resume_points

DIGESTED = {"b": [1, 2.0, None, "x"], "a": (torch.arange(6).view(2, 3), {"deep": True}), 3: torch.tensor(0.5)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def epochs_kept(folder) -> list[int]:
    names = (resume_points.NEWEST, resume_points.PREVIOUS)
    return [checkpoint.read(folder / "checkpoints" / name)["epoch"] for name in names
            if (folder / "checkpoints" / name).exists()]  # fmt: skip


def test_the_last_two_are_kept(folder):
    assert resume_points.find(folder) == (None, "")
    for epoch in (1, 2, 3):
        resume_points.save({"epoch": epoch}, folder, 0)
    assert epochs_kept(folder) == [3, 2]
    assert resume_points.find(folder) == ({"format": 1, "epoch": 3}, "")


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failed_replacement_leaves_an_intact_point(folder, monkeypatch, failing):
    for epoch in (1, 2):
        resume_points.save({"epoch": epoch}, folder, 0)
    calls, real = [], os.replace

    def replace(source, target):
        calls.append(target)
        if len(calls) == failing + 1:
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="Input"):
        resume_points.save({"epoch": 3}, folder, 0)
    assert resume_points.find(folder)[0]["epoch"] == 2


def test_a_failed_write_leaves_both_points_unchanged(folder, monkeypatch):
    for epoch in (1, 2):
        resume_points.save({"epoch": epoch}, folder, 0)

    def full(content, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        resume_points.save({"epoch": 3}, folder, 0)
    assert epochs_kept(folder) == [2, 1]
    assert len(list((folder / "checkpoints").iterdir())) == 2, "no temporary file is left"


def test_a_point_whose_events_are_lost_is_skipped(folder):
    lines = [json.dumps({"seq": number, "kind": "note", "text": "x"}) + "\n" for number in (1, 2, 3)]
    for epoch in (1, 2):
        resume_points.save({"epoch": epoch}, folder, epoch + 1)
    lost = "the last recorded events are lost"
    for count, epoch, words in ((3, 2, ""), (2, 1, lost), (1, 2, "some recorded events")):
        (folder / "events.jsonl").write_text("".join(lines[:count]) + '{"seq": 9, "kind": "no')
        snapshot, said = resume_points.find(folder)
        assert snapshot == {"format": 1, "epoch": epoch}
        assert said.startswith(words)
        assert bool(said) == bool(words)


def test_a_damaged_point_is_skipped_and_reported(folder):
    for epoch in (1, 2):
        resume_points.save({"epoch": epoch}, folder, 0)
    (folder / "checkpoints" / resume_points.NEWEST).write_bytes(b"")
    snapshot, said = resume_points.find(folder)
    assert snapshot["epoch"] == 1
    assert said.startswith("the newest resume point is damaged")


# --- the checksum ---


@pytest.mark.parametrize("change", [
    lambda d: d["b"].reverse(), lambda d: d["b"].append(0), lambda d: d.pop(3), lambda d: d.update(b=tuple(d["b"])),
    lambda d: d["a"][0][1].add_(1), lambda d: d.update(a=(d["a"][0].view(3, 2), d["a"][1])),
    lambda d: d["a"][1].update(deep=1), lambda d: d.update({3: d[3].double()}), lambda d: d.update({3: 0.5}),
])  # fmt: skip
def test_any_change_changes_the_checksum(change):
    value = {"b": list(DIGESTED["b"]), "a": (DIGESTED["a"][0].clone(), dict(DIGESTED["a"][1])), 3: DIGESTED[3].clone()}
    assert checksum.of(value) == checksum.of(DIGESTED)
    change(value)
    assert checksum.of(value) != checksum.of(DIGESTED)


def test_the_checksum_does_not_depend_on_memory_layout():
    tensor = torch.arange(24.0).view(2, 3, 2, 2)
    assert checksum.of(tensor.contiguous(memory_format=torch.channels_last)) == checksum.of(tensor)


@pytest.mark.parametrize("hollow", [
    torch.zeros(1).expand(1 << 40), torch.zeros(3, device="meta"),
    torch.zeros(1 << 20, 1 << 20, layout=torch.sparse_coo),
])  # fmt: skip
def test_a_tensor_larger_than_its_storage_is_refused_at_once(hollow):
    with pytest.raises(ValueError, match="does not store all its elements"):
        checksum.of({"w": hollow})


def test_a_modified_file_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    checkpoint.save_atomic({"format": 1, "w": torch.zeros(10_000)}, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged: its checksum does not match"):
        checkpoint.read(path)
