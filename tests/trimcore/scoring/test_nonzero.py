"""Counting nonzero elements against numpy, for every memory order, precision and size."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimcore.scoring import nonzero
from trimcore.scoring.nonzero import EXACT_IN_FLOAT32, count_nonzero


def in_small_chunks(chunk: int, long: int, columns: int):
    """As if the cache held only `chunk` elements."""
    return mock.patch.multiple(nonzero, CHUNK=chunk, LONG_ROW=long, MIN_COLUMNS=columns)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 4), st.permutations(range(5)),
    st.integers(1, 40), st.integers(1, 8), st.integers(1, 12), st.sampled_from([0.0, 1e-39]), st.integers(0, 10**6),
)  # fmt: skip
def test_counting_in_chunks_matches_numpy(shape, axis, layout, chunk, long, columns, limit, seed):
    """For any axis, memory order, and chunk and row boundaries."""
    axis %= len(shape)
    values = torch.tensor([0.0, -0.0, 1e-40, -1e-40, 2.0, -torch.inf, torch.nan])
    x = values[torch.randint(len(values), shape, generator=torch.Generator().manual_seed(seed))]
    order = [d for d in layout if d < len(shape)]
    x = x.permute(order).contiguous().permute([order.index(d) for d in range(len(shape))])
    expected = (~(np.abs(x.numpy()) <= limit)).sum(tuple(d for d in range(len(shape)) if d != axis))
    with in_small_chunks(chunk, long, columns):
        found, total = count_nonzero(x, axis, limit)
    assert found.dtype == torch.int64
    assert found.tolist() == expected.tolist()
    assert total == x.numel() // shape[axis]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_every_precision_is_counted(dtype, limit):
    x = torch.tensor([0.0, 0.5, 1.0, -0.25, -2.0] * 60, dtype=dtype).view(10, 2, 15)
    with in_small_chunks(16, 4, 8):
        assert count_nonzero(x, 1, limit)[0].tolist() == [(120, 60)[limit > 0]] * 2


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=4), st.integers(1, 3), st.integers(2, 40))
def test_counting_by_norm_matches_numpy(shape, axis, most):
    """The GPU code path, on the CPU: it halves the tensor until the counts are exact."""
    axis = min(axis, len(shape) - 1)
    x = torch.randint(-1, 2, shape, generator=torch.Generator().manual_seed(most)) * torch.tensor(2.0)
    others = tuple(d for d in range(len(shape)) if d != axis)
    with mock.patch.object(nonzero, "EXACT_IN_FLOAT32", most):
        assert nonzero._count_by_norm(x, axis, 0.0).tolist() == np.count_nonzero(x.numpy(), axis=others).tolist()
        assert nonzero._count_by_norm(x, axis, 2.0).tolist() == [0] * shape[axis]


@pytest.mark.parametrize("shape", [(1, 1, 4097, 4097), (3, 1, 2400, 2400)])
def test_counts_beyond_2_to_24_are_exact(shape):
    x = torch.ones(shape, dtype=torch.int8).expand(shape)
    found, total = count_nonzero(x, 1)
    assert total == x.numel() > EXACT_IN_FLOAT32
    assert int(found) == total


def test_negative_zero_is_zero_and_infinity_is_not():
    assert count_nonzero(torch.tensor([[0.0, -0.0, torch.inf, -1, 1e-45]]), 1)[0].tolist() == [0, 0, 1, 1, 1]


@settings(deadline=None)
@given(
    st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=40),
    st.floats(0, 4, width=32),
    st.sampled_from([2, 2**18]),
)
def test_counting_beyond_a_limit_matches_comparing(values, limit, chunk):
    x = torch.tensor([values, [limit] * len(values)])  # the limit itself is not exceeded
    with mock.patch.object(nonzero, "CHUNK", chunk):
        found, _ = count_nonzero(x, 0, limit)
    assert found.tolist() == (np.abs(x.numpy()) > np.float32(limit)).sum(1).tolist()
