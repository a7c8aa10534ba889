"""A first run: the example, a network and its neurons, a plan, the run, a branch, the report."""

import re

from tests.walk.walker import Walk


def start(walk: Walk) -> None:
    """Start and the example, as somebody sees them who opens the page for the first time."""
    walk.picture("start")
    walk.press("Trim your own network")
    walk.see("Trimmable neurons")


def understand(walk: Walk) -> None:
    """Model and Profile: the network, its neurons and its classes."""
    walk.picture("model")
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


def everything(walk: Walk, url: str, data: str) -> None:
    walk.timed("the first page", lambda: walk.page.goto(url), lambda: walk.see("Which neurons went, and when?"))
    start(walk)
    if data != "mnist-5k":
        walk.page.goto(f"{url}/model?data={data}")
        walk.see("Trimmable neurons")
    understand(walk)
    plan(walk)
    watch(walk, "run")
    branch_and_compare(walk)
    take_away(walk)
