"""Time an exported network on the CPU, with the runtime of its file alone: python time_export.py FILE

FILE: a torch.export program (.pt2) or weights with load_network.py beside them (.pt, .safetensors), for PyTorch; or an
ONNX file (.onnx), for ONNX Runtime. Prints the median milliseconds of a forward pass for batches of 1 and 16.
"""

import importlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BATCHES = (1, 16)
WARM_UP, ROUNDS, SECONDS = 2, 20, 2.0  # passes that are not timed, passes that are, and the most they may take together
Pass = Callable[[], object]
Runs = tuple[str, Sequence[int], Callable[[int], Pass]]  # the runtime, the batch sizes, and a pass of a batch size


def with_pytorch(path: Path) -> Runs:
    import torch

    if path.suffix == ".pt2":
        program = torch.export.load(path)
        network = program.module()
    else:
        loader = importlib.import_module("load_network")
        program, network = torch.export.load(loader.architecture_of(path)), loader.load(path)
    example = program.example_inputs[0]
    batches = BATCHES if program.range_constraints else (len(example[0]),)  # without them, the batch size is fixed

    def pass_of(batch: int) -> Pass:
        inputs = [x[:1].expand(batch, *x.shape[1:]).contiguous() for x in example]

        def run() -> object:
            with torch.inference_mode():
                return network(*inputs)

        return run

    return "PyTorch", batches, pass_of


def with_onnx_runtime(path: Path) -> Runs:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
    inputs = session.get_inputs()
    fixed = [each.shape[0] for each in inputs if isinstance(each.shape[0], int)]

    def pass_of(batch: int) -> Pass:
        random = np.random.default_rng(0)
        feeds: dict[str, Any] = {}
        for each in inputs:
            x = random.standard_normal((batch, *each.shape[1:]))
            feeds[each.name] = (x if "int" not in each.type else x * 0).astype(types.get(each.type, np.float32))
        return lambda: session.run(None, feeds)

    return "ONNX Runtime", fixed[:1] or BATCHES, pass_of


def milliseconds(run: Pass) -> float:
    """The median over the rounds."""
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < WARM_UP + ROUNDS and (not times or time.perf_counter() - start < SECONDS):
        begin = time.perf_counter()
        run()
        times.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times[WARM_UP:] or times)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python time_export.py FILE")
    path = Path(sys.argv[1])
    runtime, batches, pass_of = with_onnx_runtime(path) if path.suffix == ".onnx" else with_pytorch(path)
    print(f"{'runtime':<14}{'batch':>6}{'ms':>10}")
    for batch in batches:
        print(f"{runtime:<14}{batch:>6}{milliseconds(pass_of(batch)):>10.3f}")


if __name__ == "__main__":
    main()
