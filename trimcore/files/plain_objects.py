"""Objects that training scripts store beside the weights: they hold plain values, and making one runs no code."""

import argparse
import pathlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_one_at_a_time = threading.Lock()  # PyTorch keeps the list for the whole process


def _plain() -> list[Any]:
    """Arguments of the command line, paths, and numbers of numpy, under each name that a pickle may have for them."""
    scalar = np.float64(0).__reduce__()[0]
    paths = [pathlib.PurePosixPath, pathlib.PosixPath, pathlib.PureWindowsPath]
    return [
        argparse.Namespace,
        *((path, f"{module}.{path.__name__}") for path in paths for module in ("pathlib", "pathlib._local")),
        *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
        np.dtype,
        *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
    ]


@contextmanager
def plain_objects() -> Iterator[None]:
    """Within the block, `torch.load(weights_only=True)` reads them too."""
    with _one_at_a_time, torch.serialization.safe_globals(_plain()):
        yield
