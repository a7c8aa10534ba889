"""A walk through the dashboard as a person takes it, in a real Chromium: a picture of each part, and each wait timed.

    python -m tests.walk FOLDER [--width 420] [--dark] [--data mnist]

LeNet-5, on mnist-5k unless other data are named. It plans by what was measured, branches, compares, and takes the
report away. Pictures and a runs folder are left in FOLDER; the waits are printed in seconds, of the server's first and
only visitor.
"""

import argparse
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.dashboard.serving import ROOT, idle, serving

PATIENCE = 600_000  # ms: a run on all of MNIST takes minutes
FLAGS = ["--no-sandbox", "--disable-gpu"]


class Walk:
    """A person with a camera and a watch."""

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
        """Of the whole page, or of what stands under this key; once nothing on it is being drawn any more."""
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
        self.page.evaluate("() => new Promise(done => setTimeout(done, 700))")  # charts move into place

    def timed(self, what: str, act: Callable[[], None], until: Callable[[], None]) -> None:
        began = time.perf_counter()
        act()
        until()
        print(f"{time.perf_counter() - began:7.2f} s  {what}", flush=True)


def understand(walk: Walk) -> None:
    """Model and Profile: the network, its neurons, its classes."""
    walk.picture("first-visit")
    walk.page.get_by_text("Drawing", exact=True).click()
    walk.picture("network-drawn")
    walk.timed("train and profile the base", lambda: walk.press("Profile this network"),
               lambda: walk.see("Which layers have neurons to spare?"))
    walk.picture("profile")
    number = walk.page.get_by_role("spinbutton", name="Look at neuron")

    def choose() -> None:
        number.fill("7")
        number.press("Enter")

    walk.timed("one neuron, on 500 images", choose, lambda: walk.see("What does it make of other images?"))
    walk.picture("neuron", "neuron_card")
    box = walk.page.get_by_text("Which neurons serve which class?")
    walk.timed("zeros of each class", box.click, lambda: walk.see("APoZ of each neuron of"))
    walk.picture("classes")


def plan(walk: Walk) -> None:
    """Plan: what a cut would cost before any retraining, which layer bears what, and half the size."""
    first = walk.page.get_by_test_id("stMetric").filter(has_text="After the first cut")
    walk.timed("Plan, with the accuracy before retraining", lambda: walk.press("Plan with this rule"),
               first.get_by_text(re.compile(r"\d%")).wait_for)
    value = walk.page.get_by_role("slider").first
    value.focus()
    walk.timed("another plan, with its accuracy before retraining", lambda: value.press("ArrowLeft"), walk.settled)
    walk.timed("which layer can bear how much", lambda: walk.press("Measure (about"),
               lambda: walk.see("Each layer is cut alone"))
    walk.picture("before-cutting")
    walk.page.get_by_text("N times smaller", exact=True).click()
    walk.timed("a plan for half the size", lambda: walk.press("Propose"),
               lambda: walk.see("accuracy before retraining on"))
    walk.press("Replace the")
    walk.see("keep")
    walk.page.get_by_text("Drawing", exact=True).click()
    walk.picture("proposed")


def watch(walk: Walk, name: str) -> None:
    """Run: live, and when it has ended."""
    walk.press("Launch")
    walk.see(re.compile("iteration 1 of"))
    walk.picture(f"{name}-live")
    walk.timed(f"the {name}", lambda: None, lambda: walk.see(re.compile("Finished: ")))
    walk.page.get_by_text("Which classes pay for it?").click()
    walk.picture(f"{name}-ended")


def branch_and_compare(walk: Walk) -> None:
    """Compare: another plan from the same base, the tree, two results side by side."""
    walk.open("Compare")
    walk.press("Plan from here")
    walk.page.get_by_role("heading", name="Plan", exact=True).wait_for()
    walk.settled()
    walk.press("Order the layers…")
    walk.page.get_by_text("by parameters saved").click()
    walk.settled()
    watch(walk, "branch")
    walk.open("Compare")
    walk.see("Two results side by side")
    walk.picture("compare")
    walk.page.locator(".st-key-tree").scroll_into_view_if_needed()
    walk.picture("tree", "tree")


def take_away(walk: Walk) -> None:
    """Report, and the same as one HTML file."""
    walk.open("Report")
    walk.see("The same from the command line")
    walk.picture("report")
    with walk.page.expect_download() as waiting:
        walk.press("report as HTML")
    kept = walk.folder / "report.html"
    waiting.value.save_as(kept)
    walk.page.goto(kept.as_uri())
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
