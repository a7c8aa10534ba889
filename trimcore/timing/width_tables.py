"""Measured milliseconds of single layers against their widths, kept in a file per device and thread count."""

import hashlib
import json
import platform
import time
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import torch

from trimcore.compute.allocator import keep_freed_memory
from trimcore.compute.device import describe
from trimcore.system.files import read_json, write_atomic
from trimcore.timing.clock import milliseconds, stamp, synchronise
from trimcore.timing.layer_shape import LayerShape, Widths

FOLDER = ".times"  # its name in a runs folder
ROUNDS, WARM_UP, LIMIT_SECONDS = 9, 2, 0.1  # for each point
GRID = (1 / 16, 0.25, 0.5, 0.75, 1.0)  # shares of the full width at which a shape is measured for interpolation
VERSION = 2  # of the measurement; files of other versions are not read


class WidthTables:
    """A table for each layer shape: widths -> milliseconds. Points are measured when they are first needed.

    With a `folder`, the points are kept there, in one file for this machine, device, number of threads and version of
    PyTorch. `oldest` is when the oldest point that was used had been measured, in seconds since 1970.
    """

    def __init__(self, device: torch.device, folder: Path | None = None):
        self.device, self.oldest, self.measured = device, time.time(), 0
        threads = torch.get_num_threads()
        self.about = f"{platform.node()}, {describe(device)}, {threads} threads, PyTorch {torch.__version__}"
        name = hashlib.sha256(self.about.encode()).hexdigest()[:16]
        self._file = folder / f"widths-{name}.json" if folder else None
        self._tables = _valid(read_json(self._file)) if self._file else {}

    def ms(self, shape: LayerShape, widths: Widths) -> float:
        """The measured milliseconds of a layer at these widths."""
        points, name = self._tables.setdefault(shape.key, {}), _name(shape, widths)
        if name not in points:
            points[name] = (measure(shape, widths, self.device), time.time())
            self.measured += 1
        found, when = points[name]
        self.oldest = min(self.oldest, when)
        return found

    def estimate(self, shape: LayerShape, widths: Widths) -> float:
        """Milliseconds interpolated between the widths of `GRID`, linearly along each: work is a product of widths."""
        axes = []
        for role in _roles(shape):
            grid = sorted({max(1, round(share * shape.full[role])) for share in GRID})
            above = next((i for i, width in enumerate(grid) if width >= widths[role]), len(grid) - 1)
            low, high = grid[max(0, above - 1)], grid[above]
            part = 1.0 if high == low else (widths[role] - low) / (high - low)
            axes.append([(role, low, 1 - part), (role, high, part)])
        total = 0.0
        for corner in product(*axes):
            weight = 1.0
            for *_, share in corner:
                weight *= share
            if weight:
                total += weight * self.ms(shape, {role: width for role, width, _ in corner})
        return total

    def save(self) -> None:
        """Keep the points for later, if there is a folder, beside those that others have kept meanwhile. They are only
        a cache, so a folder that cannot be written is no error."""
        if not self._file or not self.measured:
            return
        tables = _valid(read_json(self._file))
        for key, points in self._tables.items():
            tables[key] = tables.get(key, {}) | points
        text = {"version": VERSION, "about": self.about, "tables": tables}
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._file, json.dumps(text))

    @property
    def days_old(self) -> float:
        """The age of the oldest point that was used."""
        return (time.time() - self.oldest) / 86_400


def measure(shape: LayerShape, widths: Widths, device: torch.device) -> float:
    """The milliseconds of a layer alone: the shortest of some calls, because a busy machine only makes them longer."""
    keep_freed_memory()
    times: list[float] = []
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        layer, start = shape.at(widths, device), time.perf_counter()
        while len(times) < WARM_UP + ROUNDS and (len(times) < 2 or time.perf_counter() - start < LIMIT_SECONDS):
            begin = stamp(device)
            layer()
            end = stamp(device)
            synchronise(device)
            times.append(milliseconds(begin, end))
    return min(times[WARM_UP:] or times[-1:])


def _roles(shape: LayerShape) -> list[str]:
    return sorted({role for role in shape.roles if role is not None})


def _name(shape: LayerShape, widths: Widths) -> str:
    return ",".join(str(widths[role]) for role in _roles(shape))


def _valid(kept: dict[str, Any]) -> dict[str, dict[str, tuple[float, float]]]:
    """The tables of a file; none if it is damaged or of another version."""
    if kept.get("version") != VERSION:
        return {}
    try:
        return {
            str(key): {str(name): (float(ms), float(when)) for name, (ms, when) in points.items()}
            for key, points in kept["tables"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}
