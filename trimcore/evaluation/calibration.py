"""Calibration: does a network that is 90 % confident answer correctly 90 % of the time? (Guo, Pleiss, Sun, Weinberger:
On Calibration of Modern Neural Networks, 2017, https://arxiv.org/abs/1706.04599)"""

from dataclasses import dataclass

from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError

BINS = 15  # of confidence, as in the paper
BELOW_ONE = 1 - 2**-24  # the largest float32 below 1; torchmetrics would give a confidence of 1 a bin of its own


@dataclass(frozen=True)
class Calibration:
    """`accuracy` and mean `confidence` of the answers, 0..1. `calibration_error` is the expected calibration error: the
    difference of the two in each of BINS equal bins of confidence, weighted by the images in it."""

    accuracy: float
    confidence: float
    calibration_error: float
    examples: int


class CalibrationTally:
    """Adds up the calibration of a network over batches."""

    def __init__(self, classes: int):
        self._error = MulticlassCalibrationError(classes, n_bins=BINS, norm="l1", validate_args=False)
        self._right, self._confidence, self._examples = 0, 0.0, 0

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        """probabilities: (B, classes). labels: (B,). Both on the CPU."""
        confidence, answer = probabilities.max(1)
        self._error.update(probabilities.clamp(max=BELOW_ONE), labels)
        self._right += int((answer == labels).sum())
        self._confidence += float(confidence.sum())
        self._examples += len(labels)

    def result(self) -> Calibration:
        """Of at least one example."""
        seen = self._examples
        return Calibration(self._right / seen, self._confidence / seen, float(self._error.compute()), seen)


def calibration(probabilities: Tensor, labels: Tensor) -> Calibration:
    """The calibration of answers. probabilities: (N, classes), of at least one example. labels: (N,) int64."""
    tally = CalibrationTally(probabilities.shape[1])
    tally.add(probabilities.cpu(), labels.cpu())
    return tally.result()
