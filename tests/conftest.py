"""What all tests share: a runs folder of their own, small pictures, a quick spec, and a watch over child processes."""

import os

# Before torch is imported, and for child processes too. Waiting threads must not take a core, and several threads on
# small tensors wait for each other: where cores are shared, one is up to twenty times as fast as two.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import csv
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np
import psutil
import pytest
from PIL import Image

from trimcore import models, spec, tasks
from trimcore.data import own
from trimcore.system import own_code

# Kept by Python's multiprocessing, or by a fixture of the whole session.
TOOLS = ("resource_tracker", "forkserver", "chromium", "playwright")


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch) -> Path:
    """Where this test's runs go; nothing is there yet."""
    monkeypatch.setenv("TRIMCORE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(autouse=True)
def as_on_the_command_line(monkeypatch) -> None:
    """Specs may name code of the user's own, even if a page ran in this process before."""
    monkeypatch.setenv(own_code.FORBIDDEN, "")


@pytest.fixture(scope="module", autouse=True)
def forget_objects():
    """Networks, data and tasks that tests of a file passed as objects do not stand on the lists of other files."""
    yield
    for table in (models.REGISTRY, own.REGISTERED, tasks.registry.REGISTERED):
        for name in [name for name in table if name.startswith(own_code.OBJECT)]:
            del table[name]


@pytest.fixture
def registry():
    """The architectures by name; what a test registers, data and tasks too, is forgotten after it."""
    with ExitStack() as registries:
        for table in (models.REGISTRY, own.REGISTERED, own.DESCRIPTIONS, own.TASKS, tasks.registry.REGISTERED):
            registries.enter_context(mock.patch.dict(table))
        yield models.REGISTRY


@pytest.fixture(scope="session")
def eventually() -> Callable:
    """eventually(condition) polls until the condition holds, and returns its value; fails after `limit` seconds."""

    def wait(condition: Callable, limit: float = 120.0):
        deadline = time.monotonic() + limit
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {limit} seconds"
            time.sleep(0.02)
        return value

    return wait


@pytest.fixture(autouse=True)
def no_process_left(tmp_path, runs_folder, eventually):
    """Fail when a process that the test started is still there; end it first, and only it."""
    before = set(psutil.Process().children(recursive=True))
    yield
    try:
        eventually(lambda: not _left(before, tmp_path, runs_folder), 10)
    except AssertionError:
        left = _left(before, tmp_path, runs_folder)
        for process in left:
            process.kill()
        pytest.fail(f"still running after the test: {left}")


def _left(before: set, tmp_path: Path, runs_folder: Path) -> list[psutil.Process]:
    found = [p for p in psutil.Process().children(recursive=True) if p not in before]
    if runs_folder.exists():  # a trainer whose supervisor died is nobody's child
        found += [p for p in psutil.process_iter() if p.pid != os.getpid() and str(tmp_path) in _command(p)]
    return [p for p in found if _lives(p) and not any(tool in _command(p) for tool in TOOLS)]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """200 grey images of 16x16 in four classes: noise, and a bright quarter (two of five have it in a wrong place)."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label in range(4):
        folder = root / f"quarter{label}"
        folder.mkdir()
        for number in range(50):
            pixels = random.integers(0, 160, (16, 16))
            row, column = divmod(label if number % 5 > 1 else int(random.integers(4)), 2)
            pixels[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] += 95
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.png")
    return root


@pytest.fixture(scope="session")
def make_spec(pictures) -> Callable[..., spec.Spec]:
    """make_spec(retrain={"epochs": 3}): the quick spec with other settings; sections are merged."""

    def make(**changes) -> spec.Spec:
        values = {
            "data": f"imagefolder:{pictures}", "image_size": 16, "seed": 3, "device": "cpu",
            "base": {"epochs": 2, "batch_size": 32}, "retrain": {"epochs": 1, "batch_size": 32},
            "step": [{"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.3, "iterations": 2}],
        }  # fmt: skip
        for key, value in changes.items():
            values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
        return spec.parse(values)

    return make


@pytest.fixture(scope="session")
def tiny(make_spec) -> spec.Spec:
    """Two iterations on two layers of LeNet-5 with 200 small pictures: a quarter of a second of training."""
    return make_spec()


@pytest.fixture(scope="session")
def csvs_of() -> Callable[[Path], dict[str, list[dict]]]:
    """The rows of a run folder's three CSVs, without the columns that measure time."""

    def read(folder: Path) -> dict[str, list[dict]]:
        found = {}
        for name in ("iterations.csv", "layers.csv", "neurons.csv"):
            with open(folder / name, encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            found[name] = [{k: v for k, v in row.items() if k != "seconds" and "latency" not in k} for row in rows]
        return found

    return read
