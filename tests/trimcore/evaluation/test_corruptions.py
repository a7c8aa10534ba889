"""Corruptions of pixels, against their definitions, and what two networks make of them."""

import math

import numpy as np
import pytest
import torch

from tests.trimcore.evaluation.test_changes import networks, random_data
from trimcore.evaluation.accuracy import evaluate
from trimcore.evaluation.answers import images_of, probabilities
from trimcore.evaluation.calibration import calibration
from trimcore.evaluation.corruptions import (
    BLUR,
    COLUMNS,
    CONTRAST,
    NOISE,
    NONE,
    STRENGTHS,
    VARIANTS,
    corrupted,
    measure,
)

GREY = torch.full((4, 3, 50, 50), 128, dtype=torch.uint8)


@pytest.mark.parametrize("name", STRENGTHS)
def test_a_strength_of_zero_changes_nothing(name):
    pixels = torch.randint(256, (3, 1, 9, 9), dtype=torch.uint8)
    assert torch.equal(corrupted(pixels, name, 0.0), pixels)


@pytest.mark.parametrize("name", [NOISE, BLUR, CONTRAST])
@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (2, 3, 2, 2), (1, 1, 28, 28), (1, 3, 64, 64)])
def test_every_shape_can_be_corrupted(name, shape):
    pixels = torch.randint(256, shape, dtype=torch.uint8)
    for strength in STRENGTHS[name]:
        found = corrupted(pixels, name, strength)
        assert (found.shape, found.dtype) == (pixels.shape, torch.uint8)


def test_noise_has_the_standard_deviation_and_depends_only_on_the_seed():
    found = corrupted(GREY, NOISE, 0.08, seed=1)
    assert float((found.float() - 128).std()) == pytest.approx(0.08 * 255, rel=0.03)
    assert float(found.float().mean()) == pytest.approx(128, abs=0.5)
    torch.randn(3)  # other random numbers do not matter
    assert torch.equal(corrupted(GREY, NOISE, 0.08, seed=1), found)
    assert not torch.equal(corrupted(GREY, NOISE, 0.08, seed=2), found)


def test_blur_is_a_gaussian():
    side, strength = 25, 0.04  # a standard deviation of one pixel
    pixels = torch.zeros(1, 1, side, side, dtype=torch.uint8)
    pixels[0, 0, 12, 12] = 255
    line = np.array([math.exp(-(x**2) / 2) if abs(x) <= 3 else 0.0 for x in range(-12, 13)])
    line /= line.sum()
    np.testing.assert_allclose(corrupted(pixels, BLUR, strength)[0, 0], 255 * np.outer(line, line), atol=0.51)


def test_contrast_moves_pixels_towards_the_mean_of_their_image():
    """Two images of 0 and 200: mean 100, and of 40 and 40."""
    pixels = torch.tensor([[0, 200], [40, 40]], dtype=torch.uint8).view(2, 1, 1, 2)
    assert corrupted(pixels, CONTRAST, 0.6).flatten().tolist() == [60, 140, 40, 40]


def test_an_unknown_corruption_is_refused():
    with pytest.raises(ValueError, match="unknown corruption 'fog'"):
        corrupted(GREY, "fog", 0.5)


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_table_is_that_of_networks_on_corrupted_images(tmp_path, on_disk):
    data, (base, trimmed) = random_data(tmp_path if on_disk else None), networks()
    table = measure(base, trimmed, data.test, data, "cpu", seed=3)
    assert list(table.columns) == COLUMNS
    assert list(zip(table.corruption, table.strength, strict=True)) == VARIANTS
    clean = table.iloc[0]
    assert clean.corruption == NONE
    for network, accuracy in ((base, clean.base_accuracy), (trimmed, clean.trimmed_accuracy)):
        assert accuracy == pytest.approx(evaluate(network, data.test, data, torch.device("cpu")).accuracy, abs=1e-6)
    ((pixels, places),) = images_of(data.test)
    darker = probabilities(trimmed, corrupted(pixels, CONTRAST, 0.8), data, "cpu")
    wanted, row = calibration(darker, data.test.labels[places]), table[(table.strength == 0.8)].iloc[0]
    assert row.trimmed_accuracy == pytest.approx(wanted.accuracy, abs=1e-6)
    assert row.trimmed_confidence == pytest.approx(wanted.confidence, abs=1e-6)
    assert row.trimmed_calibration_error == pytest.approx(wanted.calibration_error, abs=1e-6)
    assert measure(base, trimmed, data.test, data, "cpu", seed=3).equals(table)


def test_strengths_of_zero_leave_every_row_as_it_is(monkeypatch):
    monkeypatch.setattr("trimcore.evaluation.corruptions.VARIANTS", [(name, 0.0) for name in STRENGTHS])
    data, (base, trimmed) = random_data(), networks()
    table = measure(base, trimmed, data.test, data, "cpu")
    assert len(table) == 4
    assert (table[COLUMNS[2:]] == table[COLUMNS[2:]].iloc[0]).all().all()


def test_a_network_against_itself_is_equal_under_every_corruption():
    data, (base, _) = random_data(), networks()
    table = measure(base, base, data.test, data, "cpu")
    for name in ("accuracy", "confidence", "calibration_error"):
        assert (table[f"base_{name}"] == table[f"trimmed_{name}"]).all()
