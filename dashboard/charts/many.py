"""Networks of hundreds of layers: what a chart or a table shows of them, and what stands for the rest."""

from collections.abc import Sequence

import pandas as pd

MANY = 24  # more layers than this are summed up where single ones would not be read
ROWS = 40  # the most rows of a chart that names each of them


def blocks(layers: Sequence[str], most: int = ROWS) -> list[str]:
    """For each layer the row that shows it: the layer itself, or where there are many, the block that it lies in.

    Layers of a block share the beginning of their dotted names, which makes as many rows as `most` allows; where every
    beginning makes more, a row is a run of neighbours. layers: names in depth order.
    """
    if len(layers) <= most:
        return list(layers)
    depths = range(1, max(name.count(".") for name in layers) + 1)
    groupings = [[".".join(name.split(".")[:depth]) for name in layers] for depth in depths]
    if fitting := [rows for rows in groupings if len(set(rows)) <= most]:
        return max(fitting, key=lambda rows: len(set(rows)))  # of equal ones the shortest names
    size = -(-len(layers) // most)
    runs = [layers[first : first + size] for first in range(0, len(layers), size)]
    return [f"{run[0]} … {run[-1]}" if len(run) > 1 else run[0] for run in runs for _ in run]


def largest(sizes: pd.Series, most: int) -> pd.Series:
    """A mask of the `most` largest entries, of equal ones the first; all of them when no more than one would be left
    out, because one layer needs no more room than its sum."""
    if len(sizes) <= most + 1:
        return pd.Series(True, index=sizes.index)
    return (-sizes).rank(method="first") <= most


def rest(number: int) -> str:
    """The name of the row that stands for so many layers."""
    return f"{number} others"
