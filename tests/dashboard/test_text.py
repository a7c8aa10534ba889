"""Sizes and names as the pages show them."""

import pytest

from dashboard.text import layers_text, size_text
from tests.dashboard.networks import NAMES


def test_few_layers_are_named_and_many_are_counted():
    assert layers_text(["all"]) == "all layers"
    assert layers_text(NAMES[:4]) == "0.0, 1.0, 2.0, 3.0"
    assert layers_text(NAMES[:7]) == "7 layers: 0.0 … 6.0"


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (99_499, "99.5 kB"), (150_000, "150 kB"),
     (999_600, "1.0 MB"), (2_000_000, "2.0 MB"), (3_400_000_000, "3.4 GB"), (5e15, "5000 TB")],
)  # fmt: skip
def test_size_text(size, said):
    assert size_text(size) == said
