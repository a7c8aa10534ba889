"""A sweep with a real server, a real Chromium and real runs: launched on Plan, watched and downloaded on Compare."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.dashboard.serving import ROOT, idle, retry, serving
from tests.dashboard.test_browser import choose, open_page, wait_until
from trimcore import runs
from trimcore.runs import sweeps

pytestmark = pytest.mark.browser


@pytest.fixture
def easy(tmp_path) -> Path:
    """400 grey images in four classes that are easy to tell apart: each has another bright quarter."""
    random = np.random.default_rng(0)
    for label in range(4):
        folder = tmp_path / "photos" / "easy" / f"quarter{label}"
        folder.mkdir(parents=True)
        row, column = divmod(label, 2)
        for number in range(100):
            pixels = random.integers(0, 160, (16, 16))
            pixels[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] += 95
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03}.png")
    return tmp_path / "photos"


def fill(page, label: str, text: str, role: str = "textbox") -> None:
    box = page.get_by_role(role, name=label, exact=True)
    box.fill(text)
    box.press("Enter")
    idle(page)


def test_a_sweep_of_six_is_stopped_early_by_its_rule(window, easy, tmp_path, runs_folder):
    """All six cut the same neurons. With almost no learning rate, two of them cannot recover: 25 % against 100 %."""
    options, log = ["--", "--data-folder", str(easy)], str(tmp_path / "server.log")
    with serving("dashboard/app.py", ROOT, options=options, TRIMCORE_RUNS=str(runs_folder), log=log) as (url, _):
        open_page(window, url)
        choose(window, "Data", "imagefolder:PATH")
        choose(window, "Image folder", "photos/easy")
        window.get_by_text("4 classes; 320 to train").wait_for()
        fill(window, "Image size, pixels", "28", "spinbutton")
        window.get_by_role("link", name="Plan").click()
        window.get_by_role("heading", name="Plan", exact=True).wait_for()
        keep = window.get_by_role("spinbutton", name=re.compile("^Value: keep this many"))
        retry(lambda: window.get_by_text("keep", exact=True).click(), keep)
        fill(window, "Value: keep this many neurons in each layer", "8", "spinbutton")
        first = window.get_by_role("combobox", name="Setting", exact=True)
        retry(lambda: window.get_by_text("Sweep…").click(), first)
        rates = window.get_by_role("textbox", name="Values", exact=True)
        began = rates.and_(window.locator("[value*='0.02']"))
        retry(lambda: choose(window, "Setting", "Learning rate of retraining"), began)
        fill(window, "Values", "0.02, 0.05, 0.00001")
        seeds = window.get_by_role("textbox", name="Values of the second setting")
        retry(lambda: choose(window, "Second setting", "Seed"), seeds)
        fill(window, "Values of the second setting", "0, 1")
        window.get_by_text("share 2 base networks").wait_for()
        window.get_by_role("button", name=re.compile("^Launch 6 runs")).click()

        window.get_by_role("heading", name="Compare", exact=True).wait_for()
        window.get_by_text("of 6 runs finished").wait_for()
        window.get_by_role("button", name="Stop sweep…").wait_for()
        window.get_by_text("4 of 6 runs finished, 2 stopped: behind.").wait_for(timeout=720_000)  # live
        window.get_by_text("What does retrain.lr change?").wait_for()
        window.locator(".st-key-sweep_frontier .plotly").first.wait_for()
        assert not window.get_by_role("button", name="Complete sweep").count(), "it is complete"
        with window.expect_download() as waiting:
            window.get_by_role("button", name="sweep.csv").click()
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text("utf-8"))))[2:]
    assert [(row["retrain.lr"], row["seed"]) for row in rows] == [
        (rate, seed) for rate in ("0.02", "0.05", "1e-05") for seed in "01"
    ]  # fmt: skip
    assert [row["state"] for row in rows] == ["finished"] * 4 + ["stopped"] * 2
    (sweep_id,) = sweeps.list_sweeps(runs_folder)
    own = list(sweeps.members(runs_folder, sweep_id).values())[2:]
    wait_until(lambda: not any(runs.state_of(runs_folder / row["run"]).active for row in rows))
    for row, member in zip(rows[4:], own[4:], strict=True):
        reason = rf"behind run [\w-]+ \(retrain.lr 0.0[25], seed {member.settings['seed']}\) at the same size: "
        assert re.match(reason + r"[\d.]+% against [\d.]+%", row["reason"])
