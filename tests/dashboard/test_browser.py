"""The main workflow with a real server, a real Chromium and real runs, on a folder of small pictures."""

import csv
import io
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.dashboard.fakes import real_run
from tests.dashboard.serving import ROOT, free_port, idle, serving
from tests.dashboard.test_own_code import CODE
from trimcore import runs
from trimcore.files import checkpoint

pytestmark = pytest.mark.browser


@pytest.fixture
def runs_folder(tmp_path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def photos(tmp_path, pictures) -> Path:
    """A folder with a data set in it, and nothing else."""
    shutil.copytree(pictures, tmp_path / "photos" / "quarters")
    return tmp_path / "photos"


@pytest.fixture
def server(tmp_path, runs_folder, photos):
    log = str(tmp_path / "server.log")
    options = ["--", "--data-folder", str(photos)]
    with serving("dashboard/app.py", ROOT, options=options, TRIMCORE_RUNS=str(runs_folder), log=log) as (url, _):
        yield url


def open_page(page, url: str) -> None:
    page.goto(f"{url}/model")
    page.get_by_role("heading", name="Model", exact=True).wait_for()


def choose(page, label: str, option: str, tries: int = 6) -> None:
    """Choose an option of a select box. A list that is open closes when the page is redrawn, and the same text once
    more would not open it again."""
    from playwright.sync_api import TimeoutError as NotYet

    box, found = page.get_by_role("combobox", name=label, exact=True), page.get_by_role("option", name=option).first
    for remaining in reversed(range(tries)):
        box.fill("")
        box.fill(option)
        try:
            return found.click(timeout=10_000)
        except NotYet:
            if not remaining:
                raise


def choose_pictures(page) -> None:
    """Choose the folder that the server found, on the page Model."""
    choose(page, "Data", "imagefolder:PATH")
    page.get_by_text("Choose the data first").wait_for()
    choose(page, "Image folder", "photos/quarters")
    page.get_by_text("4 classes; 160 to train, 20 for validation and 20 as the test").wait_for()
    size = page.get_by_role("spinbutton", name="Image size, pixels")
    size.fill("28")
    size.press("Enter")
    page.locator("[data-testid=stMetricValue]", has_text=re.compile("^4[0-9]{2},")).first.wait_for()  # fc1 is smaller


def only_run(folder: Path, number: int = 1) -> Path:
    found = runs.list_runs(folder)
    assert len(found) == number
    return folder / found[0]


def wait_until(condition, seconds: float = 240):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(f"the condition was not met within {seconds:g} s")


def test_profile_plan_launch_watch_and_download(window, server, runs_folder):
    asked = []
    window.on("request", lambda request: asked.append(request.url))
    open_page(window, server)
    choose_pictures(window)
    window.get_by_role("button", name="Profile this network").click()
    window.get_by_text("APoZ by layer").wait_for()
    base = only_run(runs_folder)
    assert window.url.endswith(f"?run={base.name}"), "the URL contains the run"

    window.get_by_role("button", name="Plan with this rule").click()
    window.get_by_role("heading", name="Plan", exact=True).wait_for()
    window.get_by_role("combobox", name="Start from").and_(window.locator("[value^='iteration 0 of']")).wait_for()
    window.get_by_role("button", name="Order layers…").click()
    window.get_by_text("output to input").click()
    window.locator("li.card .title").nth(2).wait_for()
    assert window.locator("li.card .title").all_text_contents() == ["fc1", "conv2", "conv1"]
    window.locator("li.card[data-id]").first.focus()
    window.keyboard.press("Alt+ArrowDown")  # reorder layers with the keyboard
    window.locator("li.card .title").first.filter(has_text="conv2").wait_for()
    window.get_by_role("button", name=re.compile("^Launch")).click()

    window.get_by_text("all steps are done").first.wait_for()  # the log contains it, too
    run = only_run(runs_folder, 2)
    window.get_by_role("button", name="Open report").first.click()
    window.get_by_role("heading", name="Report", exact=True).wait_for()
    for name in ("iterations.csv", "layers.csv", "neurons.csv"):
        with window.expect_download() as waiting:
            window.get_by_role("button", name=name).click()
        assert Path(waiting.value.path()).read_text("utf-8") == (run / name).read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO((run / "iterations.csv").read_text("utf-8"))))
    assert [row["layers_trimmed"] for row in rows] == ["", "conv2", "fc1", "conv1"], "in the chosen order"
    outside = [url for url in asked if not url.startswith((server, server.replace("http", "ws"), "data:", "blob:"))]
    assert not outside, "the page contacts only its own server"


def test_maxout_units_and_weights_are_pruned_from_the_page(window, server, runs_folder):
    open_page(window, server)
    choose(window, "Model", "lenet5-maxout")
    window.get_by_label(re.compile("^width:")).wait_for()
    choose_pictures(window)
    width = window.get_by_label(re.compile("^width:"))
    width.fill("64")
    width.press("Enter")
    window.get_by_text(f"{1_520 + 25_050 + 801 * 64 + 17 * 4:,}").first.wait_for()
    window.get_by_role("button", name="Profile this network").click()
    window.get_by_text("Dominated units").wait_for()
    window.locator(".st-key-unit_heatmap .plotly").first.wait_for()

    window.get_by_role("button", name="Plan to prune the units, 4 → 1").click()
    window.get_by_role("heading", name="Plan", exact=True).wait_for()
    window.locator("li.card .caption", has_text="least relevant per unit 1 · 3 iterations").wait_for()
    window.get_by_role("button", name="Add weight pruning").click()
    window.locator("li.card .caption", has_text="sparsity per layer 0.7").wait_for()
    window.get_by_role("button", name=re.compile("^Launch")).click()
    window.get_by_text("all steps are done").first.wait_for()
    run = only_run(runs_folder, 2)
    window.get_by_role("button", name="Open report").first.click()
    window.get_by_text("Three sizes.").wait_for()
    with window.expect_download() as waiting:
        window.get_by_role("button", name="iterations.csv").click()
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text("utf-8"))))
    assert [row["k"] for row in rows] == ["fc1=4", "fc1=3", "fc1=2", "fc1=1", "fc1=1"]
    assert int(rows[4]["bytes_sparse"]) < 0.5 * int(rows[4]["bytes_dense"])
    assert runs.state_of(run).state == "finished"


def test_a_run_survives_the_server_and_the_reopened_page_shows_it(window, tmp_path, runs_folder, photos):
    port, log = free_port(), str(tmp_path / "server.log")
    asked = ["--", "--data-folder", str(photos)]
    with serving("dashboard/app.py", ROOT, port, asked, TRIMCORE_RUNS=str(runs_folder), log=log) as (url, process):
        open_page(window, url)
        choose_pictures(window)
        window.get_by_role("button", name="Trim it now with the defaults").click()
        wait_until(lambda: runs.list_runs(runs_folder) and (only_run(runs_folder) / "events.jsonl").exists())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    run = only_run(runs_folder)
    assert runs.state_of(run).active
    wait_until(lambda: not runs.state_of(run).active)
    assert runs.state_of(run).state == "finished"
    with serving("dashboard/app.py", ROOT, port, TRIMCORE_RUNS=str(runs_folder), log=log) as (url, _):
        window.goto(f"{url}/run?run={run.name}")
        window.get_by_text("all steps are done").first.wait_for()  # the log contains it, too


def test_stop_asks_for_confirmation(window, server, runs_folder):
    open_page(window, server)
    window.get_by_role("button", name="Trim it now with the defaults").click()
    window.get_by_role("button", name="Stop…").click()
    window.get_by_role("dialog").get_by_role("button", name="Stop run").click()
    run = only_run(runs_folder)
    wait_until(lambda: runs.state_of(run).state == "stopped")
    window.get_by_role("button", name="Resume").wait_for()


def test_code_of_the_servers_owner_is_trimmed_and_exported_from_the_page(window, tmp_path, runs_folder):
    """A registered network on registered data, for a task that is no classification."""
    (tmp_path / "code_of_the_owner.py").write_text(CODE)
    options, log = ["--", "--use", str(tmp_path / "code_of_the_owner.py")], str(tmp_path / "server.log")
    with serving("dashboard/app.py", ROOT, options=options, TRIMCORE_RUNS=str(runs_folder), log=log) as (url, _):
        open_page(window, url)
        choose(window, "Model", "halves-net")
        window.get_by_text("says where it is bright").first.wait_for()
        choose(window, "Data", "brightness")
        window.get_by_text("for regression, 2 outputs, 8×8 pixels.").wait_for()
        window.get_by_role("button", name="Trim it now with the defaults").click()
        window.get_by_text("all steps are done").first.wait_for()
        window.get_by_text("Test MAE").first.wait_for()
        window.get_by_role("button", name="Open report").first.click()
        window.get_by_role("heading", name="Report", exact=True).wait_for()
        with window.expect_download() as waiting:
            window.get_by_role("button", name="iterations.csv").click()
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text("utf-8"))))
    assert {row["metric"] for row in rows} == {"MAE"}
    assert float(rows[-1]["compression"]) > 1
    made = checkpoint.load(runs.checkpoint_path(only_run(runs_folder), len(rows) - 1))
    assert made.model == "halves-net"


@pytest.fixture
def changed_run(runs_folder, make_spec) -> str:
    """A run whose trimmed network answers otherwise after two large cuts."""
    step = {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.7, "iterations": 2}
    return real_run(runs_folder, make_spec(step=[step], retrain={"epochs": 0})).name


def test_what_changed_is_looked_at_and_an_image_is_dropped_in(window, server, changed_run):
    window.goto(f"{server}/report?run={changed_run}")
    window.get_by_text("Between which classes?").wait_for()
    pictures = window.locator(".st-key-changed_images img")
    pictures.first.wait_for()
    idle(window)
    total = pictures.count()
    assert total == int(window.locator("[data-testid=stMetricValue]", has_text=" of 20").inner_text().split()[0])
    box = window.get_by_role("combobox", name="Base answer → new answer")

    window.locator(".st-key-changed_pairs .bars .point path").first.click(force=True)
    window.wait_for_url(re.compile("pair=quarter"))
    idle(window)
    chosen = int(re.search(r"\((\d+)\)", box.input_value()).group(1))
    assert 0 < chosen < total
    wait_until(lambda: pictures.count() == chosen)
    window.reload()  # the link shows the same
    wait_until(lambda: pictures.count() == chosen)

    file = {"name": "mine.png", "mimeType": "image/png", "buffer": red_square()}
    window.locator("input[type=file]").set_input_files(file)
    window.get_by_text("as the networks see it").wait_for()
    window.get_by_text(re.compile(r"^\d+\.\d\d ms$")).first.wait_for()
    window.locator(".st-key-own_answers .plotly").first.wait_for()
    file["buffer"] = file["buffer"][:50]
    window.locator("input[type=file]").set_input_files(file)
    window.get_by_text("is not a readable image").wait_for()
    window.get_by_role("button", name="Measure (about").click()
    window.get_by_text("Both networks see the same corrupted images.").wait_for()


def red_square() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(content, "PNG")
    return content.getvalue()
