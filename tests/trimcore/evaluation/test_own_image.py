"""Both networks answer one image."""

import io

import pytest
import torch
from PIL import Image

from tests.trimcore.evaluation.test_changes import TwoLayers, data_of, networks, random_data
from trimcore.errors import DataError
from trimcore.evaluation.own_image import answer, read_own


def test_the_answers_and_their_order_by_hand():
    """At a pixel of 1, the base says class 1 with 3/5, and the trimmed network is undecided."""
    data = data_of([255], [1])
    found = answer(TwoLayers(), TwoLayers(without=0), data.test.image(0), data, "cpu")
    assert found.classes["class"].tolist() == [1, 0, 2], "the most probable first, ties to the first class"
    assert found.classes.base.tolist() == pytest.approx([0.6, 0.2, 0.2])
    assert found.classes.trimmed.tolist() == pytest.approx([1 / 3] * 3)
    assert min(found.base_ms, found.trimmed_ms) > 0


def test_the_five_best_classes_of_either_network():
    torch.manual_seed(1)
    scores = torch.stack([torch.arange(20.0), -torch.arange(20.0)])
    data = data_of([255], [1])
    data = data.__class__(**{**data.__dict__, "classes": tuple(map(str, range(20)))})

    class Fixed(torch.nn.Module):
        def __init__(self, which: int):
            super().__init__()
            self.which = which

        def forward(self, x):
            return scores[self.which].repeat(len(x), 1)

    found = answer(Fixed(0), Fixed(1), data.test.image(0), data, "cpu").classes
    assert sorted(found["class"]) == [0, 1, 2, 3, 4, 15, 16, 17, 18, 19]
    assert set(found["class"][:2]) == {0, 19}, "the most probable first"
    wanted = scores[0].double().softmax(0)
    assert found.base.tolist() == pytest.approx([float(wanted[i]) for i in found["class"]])


def test_an_image_of_the_data_is_answered_as_in_the_data():
    data, (base, trimmed) = random_data(), networks()
    pixels = data.test.image(3)
    file = io.BytesIO()
    Image.fromarray(pixels[0].numpy()).save(file, "PNG")
    assert torch.equal(read_own(file.getvalue(), "three.png", data), pixels)
    with pytest.raises(DataError, match="'three.png' is not a readable image"):
        read_own(file.getvalue()[:40], "three.png", data)
    with torch.no_grad():
        wanted = base.eval()((pixels[None] / 255 - 0.4) / 0.3).softmax(1)[0]
    found = answer(base, trimmed, pixels, data, "cpu").classes
    assert found.base.tolist() == pytest.approx([float(wanted[i]) for i in found["class"]], abs=1e-5)
