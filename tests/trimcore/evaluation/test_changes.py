"""Which answers changed: against answers worked out by hand, and against a loop over single images."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from trimcore.data.batches import Batches
from trimcore.data.dataset import Data
from trimcore.data.splits import Folder, Resident, in_memory
from trimcore.errors import DataError, TrimError
from trimcore.evaluation import answers
from trimcore.evaluation.changes import COLUMNS, GAINED, KINDS, LOST, MOVED, changed, compare, kinds, named, pairs
from trimcore.models import build

THREE = float(np.log(3))


class TwoLayers(nn.Module):
    """Of one pixel x, hidden neurons x and 1 - x. The first speaks for class 1, the second for class 0: with a hidden
    value h, the score is h ln 3. The score of class 2 is 0. `without`: a neuron that is held at zero."""

    def __init__(self, without: int | None = None):
        super().__init__()
        self.hidden, self.scores = nn.Linear(1, 2), nn.Linear(2, 3, bias=False)
        with torch.no_grad():
            self.hidden.weight.copy_(torch.tensor([[1.0], [-1.0]]))
            self.hidden.bias.copy_(torch.tensor([0.0, 1.0]))
            self.scores.weight.copy_(torch.tensor([[0.0, THREE], [THREE, 0.0], [0.0, 0.0]]))
            if without is not None:
                self.scores.weight[:, without] = 0

    def forward(self, x):
        return self.scores(self.hidden(x.flatten(1)).relu())


def data_of(pixels: list[int], labels: list[int]) -> Data:
    split = Resident(torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 1, 1), torch.tensor(labels), 1, 1)
    return Data("pixels", ("a", "b", "c"), split, split, split, (0.0,), (1.0,), 1, 1)


@pytest.fixture
def pixels() -> Data:
    """Five images of one pixel: 1, 1, 1, 0 and 0.8."""
    return data_of([255, 255, 255, 0, 204], [1, 0, 2, 0, 1])


def test_answers_worked_out_by_hand(pixels):
    """At x = 1, the base has the scores (0, ln 3, 0): class 1 with 3/5. Without the first neuron, all scores are 0: the
    tie goes to class 0, with 1/3. At x = 0.8, they are (0.2, 0.8, 0) ln 3 and (0.2, 0, 0) ln 3."""
    table = compare(TwoLayers(), TwoLayers(without=0), pixels.test, pixels, "cpu")
    assert list(table.columns) == COLUMNS
    assert table.image.tolist() == [0, 1, 2, 4, 3], "the largest drop first, ties by image, equal answers last"
    assert table.change.tolist() == [LOST, GAINED, MOVED, LOST, ""]
    assert table.base_answer.tolist() == [1, 1, 1, 1, 0]
    assert table.trimmed_answer.tolist() == [0, 0, 0, 0, 0]
    low, high = 3**0.2, 3**0.8
    base, trimmed = high / (low + high + 1), low / (low + 2)
    assert table.base_confidence.tolist() == pytest.approx([0.6, 0.6, 0.6, base, 0.6], abs=1e-6)
    assert table.trimmed_confidence.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, trimmed, 0.6], abs=1e-6)
    drops = [0.6 - 1 / 3] * 3 + [base - 1 / (low + 2), 0.0]
    assert table["drop"].tolist() == pytest.approx(drops, abs=1e-6)
    assert kinds(table) == {LOST: 2, GAINED: 1, MOVED: 1}
    (pair,) = pairs(table).to_dict("records")
    assert pair == {"base_answer": 1, "trimmed_answer": 0, LOST: 2, GAINED: 1, MOVED: 1, "images": 4}


def test_a_network_against_itself_changes_nothing(pixels):
    table = compare(TwoLayers(), TwoLayers(), pixels.test, pixels, "cpu")
    assert changed(table).empty
    assert pairs(table).empty
    assert kinds(table) == dict.fromkeys(KINDS, 0)
    assert table.image.tolist() == [0, 1, 2, 3, 4]
    assert table["drop"].abs().max() == 0


def random_data(folder=None, count: int = 37) -> Data:
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (count, 1, 16, 16), dtype=np.uint8)
    labels = torch.arange(count) % 4
    split = Resident(torch.from_numpy(images), labels, 16, 1)
    if folder is not None:
        files = []
        for number, image in enumerate(images):
            files.append(folder / f"{number:02}.png")
            Image.fromarray(image[0]).resize((16 + number, 20)).save(files[-1])
        files[5].write_bytes(b"no image")
        split = Folder(folder, tuple(files), labels, 16, 1)
    return Data("random", tuple("wxyz"), split, split, split, (0.4,), (0.3,), 1, 16)


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    found = [build("lenet5", num_classes=4, image_size=16) for _ in range(2)]
    for network in found:
        nn.init.normal_(network.fc2.weight, std=0.5)
    return tuple(found)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_split_against_single_images(tmp_path, on_disk):
    data, (base, trimmed) = random_data(tmp_path if on_disk else None), networks()
    table = compare(base, trimmed, data.test, data, "cpu")
    assert sorted(table.image) == [i for i in range(37) if not (on_disk and i == 5)], "an unreadable file is left out"
    assert len(changed(table)) > 5
    for row in table.itertuples():
        x = (data.test.image(row.image).float()[None] / 255 - 0.4) / 0.3
        with torch.no_grad():
            before, after = (network.eval()(x).double().softmax(1)[0] for network in (base, trimmed))
        was, now = int(before.argmax()), int(after.argmax())
        label = int(data.test.labels[row.image])
        assert (row.label, row.base_answer, row.trimmed_answer) == (label, was, now)
        assert row.drop == pytest.approx(float(before[was] - after[was]), abs=1e-5)
        assert (row.base_confidence, row.trimmed_confidence) == pytest.approx(
            (float(before[was]), float(after[now])), abs=1e-5
        )
        kind = "" if was == now else LOST if was == label else GAINED if now == label else MOVED
        assert row.change == kind
    drops = changed(table)["drop"].tolist()
    assert drops == sorted(drops, reverse=True)
    shown = named(table, data.test, data)
    assert shown.file[0] == (f"{table.image[0]:02}.png" if on_disk else "")
    assert shown.label[0] == "wxyz"[table.label[0]]
    counts = pairs(table)
    assert counts.images.sum() == len(drops)
    assert (counts.base_answer != counts.trimmed_answer).all()


def test_each_network_sees_each_image_once_and_few_at_a_time(monkeypatch, tmp_path):
    monkeypatch.setattr(answers, "MAX_VALUES", 5 * 256)
    data, (base, trimmed) = random_data(tmp_path), networks()
    sizes = {base: [], trimmed: []}
    for network, seen in sizes.items():
        network.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(len(inputs[0])))
    whole = compare(base, trimmed, data.test, data, "cpu")
    assert all(max(seen) == 5 and sum(seen) == 36 for seen in sizes.values())
    monkeypatch.undo()
    pd.testing.assert_frame_equal(compare(base, trimmed, data.test, data, "cpu"), whole, atol=2e-6)


def test_the_mode_is_restored_and_the_images_are_those_of_evaluation(pixels):
    network = TwoLayers().train()
    compare(network, network, pixels.test, pixels, "cpu")
    assert network.training
    data = random_data()
    ((wanted, _),) = Batches(data.test, data, 100, "cpu")
    ((images, _),) = answers.images_of(data.test)
    assert torch.equal(answers.normalised(images, data, "cpu"), wanted)


def test_scores_that_are_no_probabilities_are_refused(pixels):
    network = TwoLayers()
    with torch.no_grad():
        network.hidden.bias[0] = float("nan")
    with pytest.raises(TrimError, match="not finite"):
        compare(TwoLayers(), network, pixels.test, pixels, "cpu")
    with pytest.raises(TrimError, match="3 classes need as many scores"):
        compare(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)), TwoLayers(), pixels.test, pixels, "cpu")


def test_a_split_without_readable_images_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    split = Folder(tmp_path, (tmp_path / "a.png",), torch.zeros(1, dtype=torch.int64), 16, 1)
    data, (base, trimmed) = random_data(), networks()
    with pytest.raises(DataError, match="none of the 1 images can be read"):
        compare(base, trimmed, split, data, "cpu")


def test_images_of_a_small_folder_are_named_too(tmp_path):
    """They are kept in memory. An unreadable file is left out, so the names must not move against the images."""
    split = random_data(tmp_path).test
    kept = in_memory(split, "random")
    places = [place for place in range(37) if place != 5]
    assert [kept.name(place) for place in range(36)] == [f"{place:02}.png" for place in places]
    assert torch.equal(kept.image(7), split.image(places[7]))
    some = kept.take(torch.tensor([9, 2]))
    assert [some.name(0), some.name(1)] == ["10.png", "02.png"]
    assert kept.subset(3).names == ("00.png", "01.png", "02.png")
    base, trimmed = networks()
    data = dataclasses.replace(random_data(tmp_path), test=kept)
    table = compare(base, trimmed, kept, data, "cpu")
    assert named(table, kept, data).file.tolist() == [f"{places[image]:02}.png" for image in table.image]
