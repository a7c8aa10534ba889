"""The APoZ pass against plain inference of the same network on the same batch, and what it needs beside it."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from tests.benchmarks.rows import Row, alternating, in_ms, of_a_part
from trimcore.compute.device import has_fast_bf16, resolve
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.tracing import trace
from trimcore.models import build
from trimcore.scoring.apoz import profile

CASES = {  # channels, pixels, batch, batches
    "lenet5": (1, 28, 500, 10), "vgg16": (3, 224, 8, 2), "resnet18": (3, 224, 16, 4),
}  # fmt: skip
GOAL, MEMORY_GOAL = "<= 1.05", "<= 1.02"


def rows(rounds: int = 5, nni: Path | None = None) -> Iterator[Row]:
    """`nni`: the Python of an environment that has NNI."""
    peers = _nni(nni, rounds) if nni else {}
    for name, (_, size, batch, count) in CASES.items():
        model, x = _prepared(name)
        graph, batches = trace(model, x), [x] * count
        case = f"{name}, {size} px, {count} batches of {batch}, float32, {x.device.type}"
        counted = partial(profile, model, batches, graph=graph)
        plain, ours = alternating([partial(_infer, model, batches), counted], rounds)
        yield Row("APoZ pass", case, "time over plain inference", ours / plain, GOAL, in_ms(ours), in_ms(plain))
        before, after = _memory(name, "plain"), _memory(name, "counted")
        yield Row("APoZ pass", case, "peak memory over plain inference", after / before, MEMORY_GOAL,
                  f"{after / 2**20:,.0f} MiB", f"{before / 2**20:,.0f} MiB")  # fmt: skip
        found = peers.get(name)
        yield Row("APoZ pass", case, "NNI's time over plain inference", found and found["pass"] / found["plain"], "",
                  in_ms(found["pass"]) if found else "not installed", in_ms(found["plain"]) if found else "",
                  f"NNI {found['nni']}, torch {found['torch']}" if found else "")  # fmt: skip


def _prepared(name: str) -> tuple[nn.Module, Tensor]:
    """Laid out in memory as runs have it."""
    device, (channels, size, batch, _) = resolve("auto"), CASES[name]
    torch.manual_seed(0)
    model = build(name, num_classes=1000, in_channels=channels, image_size=size).eval().to(device)
    x = torch.randn(batch, channels, size, size, device=device)
    if not has_fast_bf16(device):
        return model, x
    return model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)


def _infer(model: nn.Module, batches: list[Tensor]) -> None:
    with torch.inference_mode():
        for x in batches:
            model(x)
    if batches[0].is_cuda:
        torch.cuda.synchronize()


def _memory(name: str, what: str) -> int:
    """The most bytes that a process of its own takes for it, weights included; on CUDA of the device's."""
    command = [sys.executable, "-m", "tests.benchmarks.apoz", name, what]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _take(name: str, what: str) -> int:
    model, x = _prepared(name)
    graph: ChannelGraph = trace(model, x)
    for _ in range(3):
        _infer(model, [x]) if what == "plain" else profile(model, [x], graph=graph)
    return torch.cuda.max_memory_allocated() if x.is_cuda else _peak()


def _peak() -> int:
    """Bytes. (`ru_maxrss` would begin with what the parent process has.)"""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _nni(python: Path, rounds: int) -> dict[str, dict]:
    """Its environment need not know our networks: they go there as torch.fx recorded them."""
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            model, x = _prepared(name)
            torch.save((fx.symbolic_trace(model.cpu()), x.cpu()), Path(folder, f"{name}.pt"))
        script, threads = Path(__file__).with_name("nni_pass.py"), str(torch.get_num_threads())
        command = [str(python), str(script), str(rounds), folder, threads]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["name"]: line for line in lines}


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(_take(*sys.argv[1:]))
    else:
        of_a_part(rows())
