"""Group the layers of networks with hundreds of layers, for charts and tables."""

from collections.abc import Sequence

import pandas as pd

MANY = 24  # more layers than this are summarized
ROWS = 40  # maximum rows of a chart that names every row


def blocks(layers: Sequence[str], most: int = ROWS) -> list[str]:
    """The row that shows each layer: the layer itself or, if there are many, the block that contains it.

    The layers of a block share a prefix of their dotted names, with as many rows as `most` allows. If every prefix
    gives too many rows, a row is a sequence of neighbours. layers: names in depth order.
    """
    if len(layers) <= most:
        return list(layers)
    depths = range(1, max(name.count(".") for name in layers) + 1)
    groupings = [[".".join(name.split(".")[:depth]) for name in layers] for depth in depths]
    if fitting := [rows for rows in groupings if len(set(rows)) <= most]:
        return max(fitting, key=lambda rows: len(set(rows)))  # ties: the shortest names
    size = -(-len(layers) // most)
    runs = [layers[first : first + size] for first in range(0, len(layers), size)]
    return [f"{run[0]} … {run[-1]}" if len(run) > 1 else run[0] for run in runs for _ in run]


def largest(sizes: pd.Series, most: int) -> pd.Series:
    """A mask of the `most` largest entries; ties go to the first. All entries if at most one would be left out, because
    a single layer needs no more space than a summary row."""
    if len(sizes) <= most + 1:
        return pd.Series(True, index=sizes.index)
    return (-sizes).rank(method="first") <= most


def rest(number: int) -> str:
    """The label of the row that summarizes the remaining layers."""
    return f"{number} others"
