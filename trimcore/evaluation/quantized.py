"""What INT8 costs and saves: ONNX files in float and in INT8 side by side, for the base network and the trimmed one."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from trimcore.compute.inputs import repeated
from trimcore.data.batches import Batches
from trimcore.data.dataset import Data
from trimcore.errors import TrimError
from trimcore.evaluation.accuracy import evaluate
from trimcore.files.checkpoint import Checkpoint
from trimcore.files.export import FORMATS, INT8, export
from trimcore.files.onnx_file import OnnxNetwork
from trimcore.tasks import Task
from trimcore.tasks.classification import Classification
from trimcore.timing.turns import medians

CALIBRATION, CALIBRATION_BATCH = 256, 32  # validation images, and how many of them at once
LARGEST_LOSS = 0.02  # accuracy that INT8 may cost before a warning
BATCH = 16  # images; the other batch that is timed is one image
KINDS = ("float", "INT8")
COLUMNS = ["network", "iteration", "numbers", "accuracy", "bytes", "latency_1_ms", "latency_ms", "batch"]


@dataclass(frozen=True)
class Pair:
    """The ONNX files of a network, and the iteration it is from."""

    iteration: int
    whole: Path
    int8: Path


def check_task(task: Task) -> None:
    """Raise TrimError unless the task is a classification."""
    if not isinstance(task, Classification):
        raise TrimError(f"INT8 is judged by its accuracy, so it needs a classification; this run's task is {task.name}")


def calibration_images(data: Data, examples: int = CALIBRATION) -> Iterator[Tensor]:
    """The first images of the validation split in batches (B, C, H, W), normalised."""
    for images, _ in Batches(data.validation.subset(examples), data, CALIBRATION_BATCH, "cpu"):
        yield images


def write_pair(made: Checkpoint, data: Data, folder: Path, int8: Path | None = None) -> Pair:
    """Write the ONNX files of a network into `folder`. int8: its INT8 file, if there is one. Raises TrimError as
    `export` does."""
    whole, quantized = (folder / f"network{FORMATS[kind]}" for kind in ("onnx", INT8))
    export(made, "onnx", whole)
    if int8 is None:
        export(made, INT8, quantized, calibration_images(data))
    return Pair(made.iteration, whole, int8 or quantized)


def compare(networks: Mapping[str, Checkpoint], data: Data, int8: Mapping[str, Path] | None = None) -> pd.DataFrame:
    """Write the ONNX files of networks to a folder for a moment, and measure them as `measure` does. networks: by name.
    int8: the INT8 files that exist, by the names of their networks."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = {
            name: write_pair(made, data, Path(folder, str(number)), (int8 or {}).get(name))
            for number, (name, made) in enumerate(networks.items())
        }
        return measure(pairs, data)


def measure(pairs: Mapping[str, Pair], data: Data) -> pd.DataFrame:
    """Two rows for each network, with COLUMNS. `accuracy`: on the test split, 0..1. `latency_1_ms` and `latency_ms`:
    median milliseconds for one image and for `batch`, all files in turns. All by ONNX Runtime on the CPU.

    Raises TrimError for a file that cannot be opened or run.
    """
    paths = [(name, pair, kind) for name, pair in pairs.items() for kind in KINDS]
    files = [pair.whole if kind == "float" else pair.int8 for _, pair, kind in paths]
    networks = [OnnxNetwork(path) for path in files]
    accuracies = [evaluate(network, data.test, data, torch.device("cpu")).accuracy for network in networks]
    one, many = (_timed(networks, repeated(next(calibration_images(data, 1)), batch)) for batch in (1, BATCH))
    rows = [
        [name, pair.iteration, kind, *measured, BATCH]
        for (name, pair, kind), *measured in zip(
            paths, accuracies, [path.stat().st_size for path in files], one, many, strict=True
        )
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _timed(networks: list[OnnxNetwork], images: Tensor) -> list[float]:
    return medians([partial(network, images) for network in networks])


def warnings_of(table: pd.DataFrame) -> list[str]:
    """A line for each network that loses more than LARGEST_LOSS of its accuracy by INT8."""
    lines = []
    for name, rows in table.groupby("network", sort=False):
        before, after = (float(rows[rows.numbers == kind].accuracy.iloc[0]) for kind in KINDS)
        if round(before - after, 6) > LARGEST_LOSS:
            lines.append(
                f"INT8 costs the {name} network {100 * (before - after):.1f} percentage points of accuracy "
                f"({before:.2%} in float, {after:.2%} in INT8)"
            )
    return lines
