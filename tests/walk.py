"""Walk through the dashboard in a real Chromium like a user: a screenshot of each part, and the time of each wait.

    python -m tests.walk FOLDER [--width 420] [--dark] [--data mnist]

LeNet-5, on mnist-5k unless `--data` names other data. It plans from measurements, branches, compares, and downloads the
report. FOLDER receives the screenshots and a runs folder. The printed waits, in seconds, are those of the server's
first and only visitor.
"""

import argparse
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.dashboard.serving import ROOT, idle, serving

PATIENCE = 600_000  # ms; a run on all of MNIST takes minutes
FLAGS = ["--no-sandbox", "--disable-gpu"]


class Walk:
    """A user who takes screenshots and measures time."""

    def __init__(self, page: Page, folder: Path):
        self.page, self.folder, self.number = page, folder, 0

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=re.compile(f"^{re.escape(name)}")).first.click()

    def open(self, page: str) -> None:
        self.page.get_by_role("link", name=page, exact=True).click()
        self.page.get_by_role("heading", name=page, exact=True).wait_for()

    def see(self, text: str | re.Pattern) -> None:
        self.page.get_by_text(text).first.wait_for()

    def picture(self, name: str, of: str = "") -> None:
        """A screenshot of the whole page, or of the element with this key, after everything is drawn."""
        self.number += 1
        self.settled()
        path = self.folder / f"{self.number:02}-{name}.png"
        camera = self.page.locator(f".st-key-{of}") if of else self.page
        camera.screenshot(path=path)
        print(f"    {path.name}", flush=True)

    def settled(self) -> None:
        self.page.wait_for_load_state("networkidle")
        if self.page.url.startswith("http"):
            idle(self.page)
        self.page.evaluate("() => new Promise(done => setTimeout(done, 700))")  # until the charts have moved

    def timed(self, what: str, act: Callable[[], None], until: Callable[[], None]) -> None:
        began = time.perf_counter()
        act()
        until()
        print(f"{time.perf_counter() - began:7.2f} s  {what}", flush=True)


def understand(walk: Walk) -> None:
    """Model and Profile: the network, its neurons and its classes."""
    walk.picture("first-visit")
    walk.page.get_by_text("Drawing", exact=True).click()
    walk.picture("network-drawn")
    walk.timed("train and profile the base", lambda: walk.press("Profile this network"),
               lambda: walk.see("APoZ by layer"))
    walk.picture("profile")
    number = walk.page.get_by_role("spinbutton", name="Inspect neuron")

    def choose() -> None:
        number.fill("7")
        number.press("Enter")

    walk.timed("one neuron, on 500 images", choose, lambda: walk.see("Other images"))
    walk.picture("neuron", "neuron_card")
    box = walk.page.get_by_text("APoZ and accuracy by class")
    walk.timed("APoZ by class", box.click, lambda: walk.see("APoZ of each neuron of"))
    walk.picture("classes")


def plan(walk: Walk) -> None:
    """Plan: the accuracy before retraining, the sensitivity of the layers, and a target of half the size."""
    first = walk.page.get_by_test_id("stMetric").filter(has_text="After the first cut")
    walk.timed("Plan, with the accuracy before retraining", lambda: walk.press("Plan with this rule"),
               first.get_by_text(re.compile(r"\d%")).wait_for)
    value = walk.page.get_by_role("slider").first
    value.focus()
    walk.timed("another plan, with its accuracy before retraining", lambda: value.press("ArrowLeft"), walk.settled)
    walk.timed("the sensitivity of each layer", lambda: walk.press("Measure sensitivity (about"),
               lambda: walk.see("Each layer is cut alone"))
    walk.picture("before-cutting")
    walk.page.get_by_text("smaller", exact=True).click()
    size = walk.page.get_by_role("slider", name="How many times smaller")
    size.focus()
    walk.timed("a plan for a smaller network", lambda: size.press("ArrowRight"), walk.settled)
    walk.press("Replace ")
    walk.see("keep")
    walk.page.get_by_text("Drawing", exact=True).click()
    walk.picture("proposed")


def watch(walk: Walk, name: str) -> None:
    """Run: while it is active, and after it has ended."""
    walk.press("Launch")
    walk.see(re.compile("iteration 1 of"))
    walk.picture(f"{name}-live")
    walk.timed(f"the {name}", lambda: None, lambda: walk.see(re.compile("Finished: ")))
    walk.page.get_by_text("Change in accuracy by class").click()
    walk.picture(f"{name}-ended")


def branch_and_compare(walk: Walk) -> None:
    """Compare: another plan from the same base, the tree, two results side by side."""
    walk.open("Compare")
    walk.press("Plan from here")
    walk.page.get_by_role("heading", name="Plan", exact=True).wait_for()
    walk.settled()
    walk.press("Order layers…")
    walk.page.get_by_text("by parameters saved").click()
    walk.settled()
    watch(walk, "branch")
    walk.open("Compare")
    walk.see("APoZ of two results")
    walk.picture("compare")
    walk.page.locator(".st-key-tree").scroll_into_view_if_needed()
    walk.picture("tree", "tree")


def take_away(walk: Walk) -> None:
    """Report, and the HTML report."""
    walk.open("Report")
    walk.see("Command line")
    walk.picture("report")
    with walk.page.expect_download() as waiting:
        walk.press("HTML report")
    path = walk.folder / "report.html"
    waiting.value.save_as(path)
    walk.page.goto(path.as_uri())
    walk.page.wait_for_selector(".plotly")
    walk.picture("html-report")


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.walk", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1600)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--data", default="mnist-5k")
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"TRIMCORE_RUNS": str(folder / "runs"), "log": str(folder / "server.log")}
    with sync_playwright() as driver, serving("dashboard/app.py", ROOT, **environment) as (url, _):
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_context(
            viewport={"width": given.width, "height": given.height}, color_scheme="dark" if given.dark else "light",
            accept_downloads=True,
        ).new_page()  # fmt: skip
        page.set_default_timeout(PATIENCE)
        walk = Walk(page, folder)
        first = f"{url}/?data={given.data}"
        walk.timed("the first page", lambda: page.goto(first), lambda: walk.see("Trimmable neurons"))
        understand(walk)
        plan(walk)
        watch(walk, "run")
        branch_and_compare(walk)
        take_away(walk)
        browser.close()


if __name__ == "__main__":
    main()
