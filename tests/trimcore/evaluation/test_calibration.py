"""The expected calibration error, worked out by hand."""

import pytest
import torch

from trimcore.evaluation.calibration import CalibrationTally, calibration

# Two answers in the last bin, from 14/15: one right, confidence 0.945 on average. Then one right in 9/15 to 10/15, and
# one right in 10/15 to 11/15.
FOUR = torch.tensor([[0.95, 0.05], [0.94, 0.06], [0.62, 0.38], [0.30, 0.70]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 0, 1])
ERROR = 0.5 * abs(0.5 - 0.945) + 0.25 * (1 - 0.62) + 0.25 * (1 - 0.70)


def test_four_examples_by_hand():
    found = calibration(FOUR, LABELS)
    assert found.calibration_error == pytest.approx(ERROR, abs=1e-6)
    assert found.confidence == pytest.approx((0.95 + 0.94 + 0.62 + 0.70) / 4)
    assert (found.accuracy, found.examples) == (0.75, 4)


def test_batches_add_up():
    tally = CalibrationTally(2)
    tally.add(FOUR[:1], LABELS[:1])
    tally.add(FOUR[1:], LABELS[1:])
    assert tally.result().calibration_error == pytest.approx(ERROR, abs=1e-6)


def test_a_confidence_of_one_is_in_the_last_bin():
    """Certain and wrong, beside 0.94 and right: one bin with an accuracy of 0.5 and a confidence of 0.97."""
    certain = torch.tensor([[1.0, 0.0], [0.94, 0.06]], dtype=torch.float64)
    assert calibration(certain, torch.tensor([1, 0])).calibration_error == pytest.approx(0.47, abs=1e-6)


def test_answers_that_are_certain_and_right_have_no_error():
    found = calibration(torch.eye(3, dtype=torch.float64), torch.arange(3))
    assert found.calibration_error == pytest.approx(0, abs=1e-6)
    assert (found.accuracy, found.confidence) == (1, 1)
