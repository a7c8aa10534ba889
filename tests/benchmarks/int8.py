"""Trim and quantize: accuracy, bytes and milliseconds of the base and the trimmed network, in float and in INT8.

Each network is trained on mnist-5k, loses a share of every layer, and is trained again. ONNX Runtime on the CPU, all
files in turns; accuracy on the test split, calibration on the validation split.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.rows import Row, of_a_part
from trimcore import runs, spec
from trimcore.evaluation.quantized import compare
from trimcore.files import checkpoint
from trimcore.jobs import control
from trimcore.jobs.worker import carry_out
from trimcore.training.prepare import open_iteration

NETWORKS = {"lenet5": (28, 0.5), "resnet18": (64, 0.4), "mobilenet_v2": (64, 0.3)}  # pixels, share that is cut
BASE_EPOCHS, EPOCHS = 4, 3
MULTIPLE = 16  # of widths: with others, ONNX Runtime uses slower kernels


def rows() -> Iterator[Row]:
    for name, (size, share) in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = open_iteration(Path(folder), _run(name, size, share, Path(folder)))
            base = checkpoint.load(runs.checkpoint_path(found.path.parents[1], 0))
            table = compare({"base": base, "trimmed": found.made}, found.data)
        whole = table.iloc[0]
        for row in table.itertuples():
            yield Row("int8", f"{name}, {size} px, {row.network}, {row.numbers}", "base time over its time, batch 1",
                      whole.latency_1_ms / row.latency_1_ms, "", f"{row.latency_1_ms:.3f} ms, {row.latency_ms:.3f} ms "
                      f"for {row.batch}", f"{row.bytes:,} bytes", f"accuracy {row.accuracy:.2%}, "
                      f"{whole.bytes / row.bytes:.1f} times smaller")  # fmt: skip


def _run(name: str, size: int, share: float, folder: Path) -> str:
    """The id of a run with one cut."""
    asked = spec.parse({
        "model": name, "data": "mnist-5k", "image_size": size, "base": {"epochs": BASE_EPOCHS},
        "retrain": {"epochs": EPOCHS},
        "step": [{"layers": ["all"], "rule": "fraction", "value": share, "criterion": "l1", "multiple": MULTIPLE}],
    })  # fmt: skip
    made = control.prepare_run(asked, folder)
    carry_out(made, log=folder / "log.txt")
    return made.name


if __name__ == "__main__":
    of_a_part(rows())
