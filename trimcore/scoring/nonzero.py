"""Counting what is not zero along an axis, at the speed of the memory.

A comparison summed into int64, `(x != 0).sum(dims)`, takes up to 25 times as long as the ReLU before it on a CPU. Here
a piece at a time, small enough for the cache, is compared into a buffer of ones and zeros and that is summed, in
float32, where adding is fast. Sums stay below 2^24, up to which float32 knows every integer.
"""

import operator
from functools import reduce

import torch
from torch import Tensor

EXACT_IN_FLOAT32 = 2**24  # counts below this have no rounding in float32
PIECE = 1 << 18  # elements for each thread: a megabyte of float32, which a core's own cache holds
LONG = 64  # elements: rows from here on are worth a sum each
SIDE_BY_SIDE = 1024  # columns that are summed together: fewer do not fill the vector units


def count_nonzero(x: Tensor, axis: int, limit: float = 0.0) -> tuple[Tensor, int]:
    """How many elements are beyond `limit` in magnitude for each index along `axis`, int64, and how many there are for
    each. Limit 0: how many are not zero. NaN counts as not zero.

    >>> count_nonzero(torch.tensor([[0.0, 3.0], [-1.0, 2.0]]), axis=1)
    (tensor([1, 2]), 2)
    """
    axis %= x.dim()
    width = x.shape[axis]
    total = x.numel() // max(width, 1)
    if x.device.type != "cpu":
        return _reduced(x, axis, limit), total
    if x.numel() <= 2 * PIECE:
        return _beyond(x, limit, torch.empty_like(x, dtype=torch.float32)).sum(_others(x, axis)).long(), total
    order = sorted(range(x.dim()), key=lambda d: -x.stride()[d])  # as it lies in memory: channels_last too
    laid_out = x.permute(order).contiguous()
    after = laid_out.shape[order.index(axis) + 1 :].numel()
    if after >= LONG:
        return _sums_of_rows(laid_out.reshape(-1, after), limit).view(-1, width).sum(0), total
    return _sums_of_columns(laid_out.reshape(-1, width * after), limit).view(width, after).sum(1), total


def _reduced(x: Tensor, axis: int, limit: float) -> Tensor:
    """Where there are true zeros, one kernel that reads once: the norm of order 0 counts what is not zero."""
    dims = _others(x, axis)
    if x.numel() >= EXACT_IN_FLOAT32 * x.shape[axis]:
        halves = x.chunk(2, max(dims, key=lambda d: x.shape[d]))
        return reduce(operator.add, (_reduced(half, axis, limit) for half in halves))
    marks = (x.abs() <= limit).logical_not_().float() if limit else x
    counts: Tensor = torch.linalg.vector_norm(marks, 0, dims, dtype=torch.float32)
    return counts.long()


def _others(x: Tensor, axis: int) -> list[int]:
    return [d for d in range(x.dim()) if d != axis]


def _sums_of_rows(rows: Tensor, limit: float) -> Tensor:
    """(rows, length) -> (rows,)"""
    piece = min(PIECE * torch.get_num_threads(), EXACT_IN_FLOAT32)
    if rows.shape[1] > piece:
        return reduce(operator.add, (_sums_of_rows(part, limit) for part in torch.split(rows, piece, 1)))
    counts, buffer = (rows.new_empty(n, dtype=torch.float32) for n in (len(rows), piece))
    step = piece // rows.shape[1]
    for some, found in zip(torch.split(rows, step), torch.split(counts, step), strict=True):
        torch.sum(_beyond(some, limit, buffer), 1, out=found)
    return counts.long()


def _sums_of_columns(rows: Tensor, limit: float) -> Tensor:
    """(rows, width) -> (width,). Short rows are laid side by side first, and their sums added up."""
    count, width = rows.shape
    beside = max(1, SIDE_BY_SIDE // width)
    whole = count - count % beside
    counts = rows.new_zeros(beside * width, dtype=torch.int64)
    threads = torch.get_num_threads()
    step = threads * max(1, PIECE // (beside * width))
    buffer = rows.new_empty(step * beside * width, dtype=torch.float32)
    for piece in torch.split(rows[:whole].reshape(-1, beside * width), step):
        marks = _beyond(piece, limit, buffer)
        parts = threads if len(piece) == step else 1  # each thread sums what it has just written
        counts += marks.view(parts, -1, beside * width).sum(1).sum(0).long()
    counts = counts.view(beside, width).sum(0)
    return counts + _beyond(rows[whole:], limit, buffer).sum(0).long() if whole < count else counts


def _beyond(piece: Tensor, limit: float, buffer: Tensor) -> Tensor:
    """One for each element beyond the limit and zero for the others, in the buffer, which the cache still holds."""
    marks = buffer if buffer.shape == piece.shape else buffer[: piece.numel()].view(piece.shape)
    if limit:
        return torch.le(piece.abs(), limit, out=marks).neg_().add_(1)
    return torch.ne(piece, 0, out=marks)
