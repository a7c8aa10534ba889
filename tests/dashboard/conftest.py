"""Fixtures shared by the tests of the pages: a browser, runs, and networks for tests only."""

import shutil
from pathlib import Path

import pytest
from torch import nn

from tests.dashboard.drafts import UNIT_MODEL, UNIT_STEPS
from tests.dashboard.fakes import NARROWER, STAGES, fake_run, real_run
from tests.dashboard.networks import DEPTH, Spectral
from trimcore import models, spec
from trimcore.jobs import control


@pytest.fixture
def launched(monkeypatch) -> list[spec.Spec]:
    """The specs that the page launches. None of them is run."""
    found = []
    monkeypatch.setattr(control, "launch", lambda asked, folder: found.append(asked) or f"run-{len(found)}")
    return found


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium. The test is skipped if none is installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ["chromium", "chromium-browser", "google-chrome"]
    executable = next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        pytest.skip(f"no Chromium on PATH (looked for {', '.join(names)})")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def window(chromium):
    """A browser window, as wide as a laptop's. A run takes ten seconds on two idle cores, and minutes on slow ones."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(240_000)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """A real run with two iterations, created once."""
    folder = tmp_path_factory.mktemp("runs")
    asked = spec.parse({
        "name": "made by a test", "base": {"epochs": 1}, "retrain": {"epochs": 1}, "control": {"scratch": True},
        "step": [{"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.2, "iterations": 2}],
    })  # fmt: skip
    return real_run(folder, asked)


@pytest.fixture
def run(finished_run, tmp_path, monkeypatch) -> Path:
    """A copy of the run, in a separate runs folder for the pages."""
    copy = tmp_path / "runs" / finished_run.name
    shutil.copytree(finished_run, copy)
    monkeypatch.setenv("TRIMCORE_RUNS", str(tmp_path / "runs"))
    return copy


@pytest.fixture
def no_runs(tmp_path, monkeypatch) -> Path:
    """A runs folder that does not exist."""
    monkeypatch.setenv("TRIMCORE_RUNS", str(tmp_path / "none"))
    return tmp_path / "none"


@pytest.fixture
def deep():
    """A network of 30 small convolutions, registered during the test."""

    @models.register("deep", "for a test")
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        layers = [(nn.Conv2d(in_channels if k == 0 else 8, 8, 3, padding=1), nn.ReLU()) for k in range(DEPTH)]
        blocks = [nn.Sequential(*pair) for pair in layers]
        return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))

    yield "deep"
    models.REGISTRY.pop("deep")


@pytest.fixture
def spectral():
    """A network with a part that cannot be tracked, registered during the test."""

    @models.register("spectral", "for a test")
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        return Spectral(in_channels, num_classes)

    yield "spectral"
    models.REGISTRY.pop("spectral")


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory, make_spec) -> Path:
    """A real run with two iterations on tiny images, created once."""
    asked = make_spec(step=[{"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.3, "iterations": 2}])
    return real_run(tmp_path_factory.mktemp("seen"), asked)


@pytest.fixture
def tiny_run(trained_run, runs_folder) -> Path:
    """A copy of `trained_run`."""
    return Path(shutil.copytree(trained_run, runs_folder / trained_run.name))


@pytest.fixture
def smooth():
    """A network with GELU and Hardswish, registered during the test."""

    @models.register("smooth", "for a test")
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        conv = [nn.Conv2d(in_channels, 8, 5, stride=4), nn.GELU(), nn.Conv2d(8, 6, 3), nn.Hardswish()]
        return nn.Sequential(*conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, num_classes))

    yield "smooth"
    models.REGISTRY.pop("smooth")


@pytest.fixture
def leaky():
    """A network with a LeakyReLU and a ReLU, registered during the test."""

    @models.register("leaky", "for a test")
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        layers = [nn.Conv2d(in_channels, 8, 5, stride=4), nn.LeakyReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, num_classes))

    yield "leaky"
    models.REGISTRY.pop("leaky")


@pytest.fixture(scope="session")
def pruned_run(tmp_path_factory) -> Path:
    """A run that prunes units of four to single neurons and then weights, with a verification; created once."""
    asked = {**UNIT_MODEL, "base": {"epochs": 1}, "retrain": {"epochs": 0}, "verify": {"pairs": "test"},
             "step": UNIT_STEPS, "profile": {"relevance_examples": 500}}
    return real_run(tmp_path_factory.mktemp("pruned"), spec.parse(asked))


@pytest.fixture
def units_run(pruned_run, runs_folder) -> Path:
    """A copy of `pruned_run`."""
    return Path(shutil.copytree(pruned_run, runs_folder / pruned_run.name))


@pytest.fixture
def run_id(runs_folder) -> str:
    """A finished run with a name and made-up events."""
    return fake_run(runs_folder, {"name": "as launched"}, NARROWER, [0.99, 0.98])


@pytest.fixture
def cut_run(runs_folder) -> Path:
    """A finished run with two cuts and made-up events."""
    return runs_folder / fake_run(runs_folder, {"name": "mine"}, STAGES, [0.9, 0.8, 0.7])
