"""Verification: do two images show the same person? Decided by the distance between their embeddings.

The protocol is that of Labeled Faces in the Wild (Huang, Ramesh, Berg and Learned-Miller 2007), which Rueda, Grzeszick
and Fink (2017, arXiv 1707.06838) use to evaluate pruned networks. The pairs are split into ten folds. For each fold,
the threshold is chosen on the other nine, and the accuracy is measured on this one.
"""

import math
import statistics
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from trimcore.compute.generators import finished
from trimcore.data import Data
from trimcore.data.pairs import PairSet
from trimcore.errors import DataError, SpecError
from trimcore.evaluation.embedding import embedding
from trimcore.graph.channel_graph import ChannelGraph

ROC_POINTS = 200
CHUNK = 500  # pairs per copy of embeddings


@dataclass(frozen=True)
class Verified:
    """How well distances separate matching pairs (same person or class) from non-matching pairs.

    `accuracy` (0..1) is the mean over the folds. `standard_error` is its standard error: the sample standard deviation
    of the folds' accuracies divided by the square root of their number. `folds` has each fold's accuracy and threshold.
    `auc` is the probability that a matching pair is closer than a non-matching pair; equal distances count half. `roc`
    has points (false positive rate, true positive rate) from (0, 0) to (1, 1).
    """

    accuracy: float
    standard_error: float
    folds: tuple[tuple[float, float], ...]
    auc: float
    roc: tuple[tuple[float, float], ...]
    pairs: int
    distance: str


def verify(distances: Tensor, same: Tensor, fold: Tensor, distance: str = "cosine") -> Verified:
    """Apply the protocol to P pairs: distances (P,), same (P,) bool, fold (P,) int. `distance` is only recorded.

    A pair counts as a match if its distance is at most the threshold. The threshold of a fold is the one that is right
    most often on all other folds. The candidates are the midpoints between neighbouring distances there, plus one
    threshold that matches no pair and one that matches every pair. Of several best candidates, the middle one is used,
    or the lower of the two middle ones. Takes O(P log P), and O(P) per fold.

    Raises DataError for non-finite distances, for fewer than two folds, and if the other folds of some fold lack
    matching or non-matching pairs.
    """
    distances, order = distances.cpu().double().sort()
    same, fold = same.cpu()[order], fold.cpu()[order]
    if wrong := int((~distances.isfinite()).sum()):
        raise DataError(f"{wrong} of {len(distances)} distances are not finite: the embeddings are damaged")
    numbers = torch.unique(fold).tolist()
    if len(numbers) < 2:
        raise DataError(f"verification needs two or more folds of pairs, not {len(numbers)}")
    measured = []
    for number in numbers:
        others = fold != number
        if len(torch.unique(same[others])) < 2:
            raise DataError(f"the folds other than {number} need both matching and non-matching pairs")
        threshold = _best_threshold(distances[others], same[others], distances)
        right = (distances <= threshold) == same
        measured.append((float(right[~others].double().mean()), threshold))
    accuracies = [accuracy for accuracy, _ in measured]
    error = statistics.stdev(accuracies) / math.sqrt(len(accuracies))
    auc, roc = _auc_and_roc(distances, same)
    return Verified(statistics.fmean(accuracies), error, tuple(measured), auc, roc, len(same), distance)


def _best_threshold(distances: Tensor, same: Tensor, every: Tensor) -> float:
    """The best threshold for sorted distances: it accepts the first 0, 1, 2, ... of them. `every` are all distances,
    sorted: a threshold below them accepts no pair, and a threshold at the last accepts every pair."""
    taken = torch.cat([same.new_zeros(1), same]).cumsum(0)  # (P+1,) matching pairs among the first 0, 1, 2, ...
    wrongly = torch.arange(len(taken)) - taken
    right = taken + (wrongly[-1] - wrongly)
    middle = _middles(distances[:-1], distances[1:])
    least = torch.nextafter(every[:1], torch.tensor(-torch.inf, dtype=every.dtype))
    thresholds = torch.cat([least, middle, every[-1:]])
    always = torch.ones(1, dtype=torch.bool)
    possible = torch.cat([always, distances[:-1] < distances[1:], always])
    best = (possible & (right == right[possible].max())).nonzero().flatten()
    return float(thresholds[best[(len(best) - 1) // 2]])


def _middles(low: Tensor, high: Tensor) -> Tensor:
    """The midpoints, but always below `high`, even if no number lies in between."""
    middle = low / 2 + high / 2
    return torch.where(middle < high, middle, low)


def _auc_and_roc(distances: Tensor, same: Tensor) -> tuple[float, tuple[tuple[float, float], ...]]:
    """AUC and ROC points, computed from integers. Pairs with equal distances form one step, so that ties count half."""
    _, step = torch.unique_consecutive(distances, return_inverse=True)
    hits, alarms = (torch.bincount(step[kind], minlength=int(step[-1]) + 1) for kind in (same, ~same))
    twice_area = int((hits * (2 * (alarms.sum() - alarms.cumsum(0)) + alarms)).sum())
    hits, alarms = (torch.cat([kind.new_zeros(1), kind.cumsum(0)]) for kind in (hits, alarms))
    which = torch.linspace(0, len(hits) - 1, min(ROC_POINTS, len(hits)), dtype=torch.float64).round().long()
    true, false = hits[which].double() / hits[-1], alarms[which].double() / alarms[-1]
    roc = tuple(zip(false.tolist(), true.tolist(), strict=True))
    return twice_area / (2 * int(hits[-1]) * int(alarms[-1])), roc


def verify_pairs(
    graph: ChannelGraph, pairs: PairSet, data: Data, device: torch.device | str, distance: str = "cosine"
) -> Verified:
    """Verify `pairs` with the network of `graph`, on `device`. See `verifying`."""
    return finished(verifying(graph, pairs, data, device, distance))


def verifying(
    graph: ChannelGraph, pairs: PairSet, data: Data, device: torch.device | str, distance: str = "cosine"
) -> Generator[int, None, Verified]:
    """`verify_pairs` as a generator that yields the number of images embedded so far and returns the result.

    Each image is embedded once, normalised like `data`. Raises TrimError for a network without an embedding, SpecError
    for an unknown distance, and DataError for an unreadable image and as `verify` does.
    """
    embeddings = yield from embedding(graph, pairs, data, device)
    sides = zip(torch.split(pairs.first, CHUNK), torch.split(pairs.second, CHUNK), strict=True)
    apart = torch.cat([distances(embeddings[first], embeddings[second], distance) for first, second in sides])
    return verify(apart, pairs.same, pairs.fold, distance)


def distances(first: Tensor, second: Tensor, kind: str) -> Tensor:
    """The distance between the embeddings (P, D) of each pair, (P,) float64 on the CPU.

    "cosine": 1 - cosine similarity, from 0 to 2; an all-zero embedding has distance 1 to every embedding, including
    itself. "euclidean": the norm of the difference. Raises SpecError for any other kind.
    """
    first, second = first.cpu().double(), second.cpu().double()
    if kind == "euclidean":
        apart: Tensor = (first - second).norm(dim=1)
        return apart
    if kind != "cosine":
        raise SpecError(f"unknown distance {kind!r}; use cosine or euclidean")
    lengths = first.norm(dim=1) * second.norm(dim=1)
    similarity = (first * second).sum(1) / torch.where(lengths == 0, 1.0, lengths)
    return (1 - similarity).clamp(0, 2)
