"""All benchmarks: a Markdown table on standard output, and a CSV.

    python -m tests.benchmarks [--peers FOLDER] [--only PART ...] [--threads N] [--csv FILE]

Nothing else should be running. Each figure is the median of several rounds, against something measured in turns with it
in the same run. `--peers` says where Torch-Pruning and NNI have environments of their own, which are made there if they
are not; without it they are shown as absent. What many devices would take is computed by `tests.benchmarks.scaling`.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

PARTS = (
    "apoz", "surgery", "training", "precision", "latency", "prediction", "speed", "allocation", "int8", "pages",
    "navigation",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="How fast trimcore is.")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--csv", type=Path, help="also as CSV")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)  # before torch is loaded, and for other processes
    from tests.benchmarks.peers import make
    from tests.benchmarks.rows import Row, as_csv, print_rows, table

    if asked.peers:
        make(asked.peers)
    print(f"{machine(asked.threads)}\n")
    begin, found = time.perf_counter(), []

    def noted() -> Iterator[Row]:
        for row in measured(asked.only, asked.peers):
            found.append(row)
            yield row

    print_rows(noted())
    if asked.csv:
        asked.csv.write_text(as_csv(found), "utf-8")
    missed = [row for row in found if row.verdict == "missed"]
    print(f"\n{len(found)} figures in {time.perf_counter() - begin:.0f} s; {len(missed)} missed their goal")
    if missed:
        print(f"\n{table(missed)}")


def machine(threads: int) -> str:
    """In words, with what would make the figures worth less."""
    import torch

    from trimcore.compute.device import describe, resolve

    words = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(":")[2].strip() for line in words.splitlines() if line.startswith("model name")), "")
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{model or platform.processor() or platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GiB; "
        f"{describe(resolve('auto'))}; {threads} threads; Python {platform.python_version()}, torch "
        f"{torch.__version__}; load when it began {os.getloadavg()[0]:.2f}"
    )


def measured(parts: tuple[str, ...], peers: Path | None) -> Iterator:
    from tests.benchmarks import allocation, apoz, int8, latency, precision, prediction, speed, training
    from tests.benchmarks.peers import present

    for part in parts:
        if part == "apoz":
            yield from apoz.rows(nni=present(peers, "nni"))
        elif part == "surgery":
            yield from _elsewhere(part, present(peers, "torch-pruning"))
        elif part in ("pages", "navigation"):
            yield from _elsewhere(part, None)  # its server and browser are counted as its children
        else:
            yield from {
                "training": training, "precision": precision, "latency": latency, "prediction": prediction,
                "speed": speed, "allocation": allocation, "int8": int8,
            }[part].rows()  # fmt: skip


def _elsewhere(part: str, python: Path | None) -> Iterator:
    """A part in a process of its own, in the environment of that Python if there is one."""
    from tests.benchmarks.rows import from_csv

    command = [python or sys.executable, "-W", "ignore", "-m", f"tests.benchmarks.{part}", "--csv"]
    yield from from_csv(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    main()
