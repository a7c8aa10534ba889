"""Count nonzero elements along an axis, at memory speed.

On a CPU, `(x != 0).sum(dims)`, which sums into int64, takes up to 25 times as long as the ReLU before it. Instead, one
cache-sized chunk at a time is compared into a buffer of ones and zeros, and the buffer is summed in float32, which is
fast. All sums stay below 2^24, up to which float32 represents every integer exactly.
"""

import operator
from functools import reduce

import torch
from torch import Tensor

EXACT_IN_FLOAT32 = 2**24  # float32 is exact for counts below this
CHUNK = 1 << 18  # elements per thread: 1 MB of float32, which fits into a core's own cache
LONG_ROW = 64  # elements; rows of at least this length are summed one by one
MIN_COLUMNS = 1024  # columns summed together; fewer do not fill the vector units


def count_nonzero(x: Tensor, axis: int, limit: float = 0.0) -> tuple[Tensor, int]:
    """For each index along `axis`, the number of elements whose magnitude exceeds `limit`, int64, and the number of all
    elements per index. Limit 0 counts nonzero elements. NaN counts as nonzero.

    >>> count_nonzero(torch.tensor([[0.0, 3.0], [-1.0, 2.0]]), axis=1)
    (tensor([1, 2]), 2)
    """
    axis %= x.dim()
    width = x.shape[axis]
    total = x.numel() // max(width, 1)
    if x.device.type != "cpu":
        return _count_by_norm(x, axis, limit), total
    if x.numel() <= 2 * CHUNK:
        return _exceeding(x, limit, torch.empty_like(x, dtype=torch.float32)).sum(_other_axes(x, axis)).long(), total
    order = sorted(range(x.dim()), key=lambda d: -x.stride()[d])  # the order in memory, for channels_last too
    ordered = x.permute(order).contiguous()
    after = ordered.shape[order.index(axis) + 1 :].numel()
    if after >= LONG_ROW:
        return _sums_of_rows(ordered.reshape(-1, after), limit).view(-1, width).sum(0), total
    return _sums_of_columns(ordered.reshape(-1, width * after), limit).view(width, after).sum(1), total


def _count_by_norm(x: Tensor, axis: int, limit: float) -> Tensor:
    """Count with the norm of order 0, which counts nonzero elements in one kernel that reads x once."""
    dims = _other_axes(x, axis)
    if x.numel() >= EXACT_IN_FLOAT32 * x.shape[axis]:
        halves = x.chunk(2, max(dims, key=lambda d: x.shape[d]))
        return reduce(operator.add, (_count_by_norm(half, axis, limit) for half in halves))
    marks = (x.abs() <= limit).logical_not_().float() if limit else x
    counts: Tensor = torch.linalg.vector_norm(marks, 0, dims, dtype=torch.float32)
    return counts.long()


def _other_axes(x: Tensor, axis: int) -> list[int]:
    return [d for d in range(x.dim()) if d != axis]


def _sums_of_rows(rows: Tensor, limit: float) -> Tensor:
    """(rows, length) -> (rows,)"""
    size = min(CHUNK * torch.get_num_threads(), EXACT_IN_FLOAT32)
    if rows.shape[1] > size:
        return reduce(operator.add, (_sums_of_rows(part, limit) for part in torch.split(rows, size, 1)))
    counts, buffer = (rows.new_empty(n, dtype=torch.float32) for n in (len(rows), size))
    step = size // rows.shape[1]
    for chunk, found in zip(torch.split(rows, step), torch.split(counts, step), strict=True):
        torch.sum(_exceeding(chunk, limit, buffer), 1, out=found)
    return counts.long()


def _sums_of_columns(rows: Tensor, limit: float) -> Tensor:
    """(rows, width) -> (width,). Short rows are first joined into longer ones, and their sums are added at the end."""
    count, width = rows.shape
    joined = max(1, MIN_COLUMNS // width)
    whole = count - count % joined
    counts = rows.new_zeros(joined * width, dtype=torch.int64)
    threads = torch.get_num_threads()
    step = threads * max(1, CHUNK // (joined * width))
    buffer = rows.new_empty(step * joined * width, dtype=torch.float32)
    for chunk in torch.split(rows[:whole].reshape(-1, joined * width), step):
        marks = _exceeding(chunk, limit, buffer)
        parts = threads if len(chunk) == step else 1  # each thread sums what it has just written
        counts += marks.view(parts, -1, joined * width).sum(1).sum(0).long()
    counts = counts.view(joined, width).sum(0)
    return counts + _exceeding(rows[whole:], limit, buffer).sum(0).long() if whole < count else counts


def _exceeding(chunk: Tensor, limit: float, buffer: Tensor) -> Tensor:
    """1 for each element whose magnitude exceeds the limit and 0 for the others, written to the cached buffer."""
    marks = buffer if buffer.shape == chunk.shape else buffer[: chunk.numel()].view(chunk.shape)
    if limit:
        return torch.le(chunk.abs(), limit, out=marks).neg_().add_(1)
    return torch.ne(chunk, 0, out=marks)
