"""Checks of the tables for charts, and the formatting of numbers and names."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd


def require(frame: pd.DataFrame, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return `frame` with a fresh index, or raise a ValueError that names what is missing."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} lacks the column(s) {', '.join(missing)}; needed: {', '.join(columns)}")
    if frame.empty:
        raise ValueError(f"{name} is empty; needed: at least one row of {', '.join(columns)}")
    return frame.reset_index(drop=True)


def rows_of(frame: pd.DataFrame) -> Iterable[Any]:
    """The rows as named tuples, whose fields have the types of the columns."""
    return frame.itertuples()


def require_apoz(values: Iterable[float]) -> np.ndarray:
    """Return `values` as a 1-d float array in 0..1, or raise a ValueError."""
    apoz = np.asarray(values, dtype=float)
    if apoz.ndim != 1 or apoz.size == 0:
        raise ValueError(f"apoz is empty or not 1-d (shape {apoz.shape}); needed: one value in 0..1 per neuron")
    if not (apoz.min() >= 0 and apoz.max() <= 1):
        raise ValueError(f"apoz must lie in 0..1, got {apoz.min():g}..{apoz.max():g}")
    return apoz


def in_order(names: Iterable[str]) -> list[str]:
    """The distinct names in their order of appearance, which is the depth order."""
    return list(dict.fromkeys(names))


def percent(share: float) -> str:
    """A share 0..1 as text: 0.814 -> '81 %', 0.0043 -> '0.4 %', 0.9913 -> '99.1 %', 0.0001 -> '<0.1 %'."""
    value = 100 * share
    if 0 < value < 0.05:
        return "<0.1\u00a0%"
    whole = 10 <= value < 99 or round(value, 1) in (0, 100)
    return f"{value:.0f}\u00a0%" if whole else f"{value:.1f}\u00a0%"


def shorten(name: str, limit: int) -> str:
    """A long name with its middle cut out. The end usually distinguishes it."""
    return name if len(name) <= limit else f"{name[:4]}…{name[5 - limit:]}"


def short_layer(name: str, limit: int = 14) -> str:
    """A layer's name as a tick label. The words of a long name are shortened from the left to a letter and a number, so
    that siblings stay distinct: features.denseblock1.denselayer12.conv1 -> f.d1.d12.conv1."""
    parts = name.split(".")
    for place, part in enumerate(parts[:-1]):
        if len(".".join(parts)) <= limit:
            break
        parts[place] = part if part.isdigit() else part[0] + "".join(re.findall(r"\d+$", part))
    short = ".".join(parts)
    return short if len(short) <= limit else f"{short[: limit - 1]}…"


def counted(number: int, noun: str) -> str:
    """A number with a noun: '1 layer', '3 layers'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
