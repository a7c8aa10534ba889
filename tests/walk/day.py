"""A day's work: a queue, a sweep, what changed, an image of one's own, two people, and a server that is killed."""

import io
import re
from pathlib import Path
from subprocess import Popen

from PIL import Image, ImageDraw

from tests.dashboard.serving import ROOT, idle, retry, serving
from tests.walk.walker import Walk
from trimcore import runs, spec
from trimcore.jobs import control

SLOW = {"base": {"epochs": 60}, "step": []}  # long enough to be looked at


def everything(walk: Walk, url: str, server: Popen, folder: Path, data: str) -> None:
    ended = [run_id for run_id in runs.list_runs(folder) if runs.state_of(folder / run_id).state == "finished"]
    run_id = ended[0] if ended else runs.EXAMPLE
    shapes_and_times(walk, url, run_id)
    what_changed(walk, url, run_id)
    sweep(walk, url)
    waiting = queue(walk, url, folder, data)
    two_people(walk, url, waiting[0])
    restart(walk, url, server, folder, waiting[0])


def shapes_and_times(walk: Walk, url: str, run_id: str) -> None:
    """The network drawn with milliseconds, and the shapes of a run's network before and after."""
    walk.page.goto(f"{url}/model")
    walk.see("Trimmable neurons")
    walk.page.get_by_text("Time", exact=True).click()
    measure = walk.page.get_by_role("button", name=re.compile("^Measure"))
    walk.timed("the time of each layer", measure.first.click, lambda: walk.see("Measure again"))
    walk.page.get_by_text("Drawing", exact=True).click()
    walk.page.get_by_role("radiogroup", name="Beside the parameters").get_by_text("Time").click()
    walk.see("milliseconds")
    walk.picture("drawn-with-milliseconds")
    shapes = walk.page.get_by_text(re.compile("^Iteration 0 → iteration"))
    walk.timed("Report, with what changed and the shapes", lambda: walk.page.goto(f"{url}/report?run={run_id}"),
               shapes.wait_for)  # fmt: skip
    shapes.scroll_into_view_if_needed()
    walk.picture("shapes")


def what_changed(walk: Walk, url: str, run_id: str) -> None:
    """Images that are answered differently, one pair of classes, corrupted images, and an image of one's own."""
    walk.page.goto(f"{url}/report?run={run_id}")
    walk.see("Between which classes?")
    walk.page.locator(".st-key-changed_images img").first.wait_for()
    walk.page.get_by_text("What changed?").first.scroll_into_view_if_needed()
    walk.picture("what-changed")
    bars = walk.page.locator(".st-key-changed_pairs .bars .point path").all()
    pair = max(bars, key=lambda bar: bar.bounding_box()["width"])  # some have no width
    walk.timed("one pair of classes", lambda: pair.click(force=True),
               lambda: walk.page.wait_for_url(re.compile("pair=")))  # fmt: skip
    walk.timed("corrupted images and calibration", lambda: walk.press("Measure (about"),
               lambda: walk.see("Both networks see the same corrupted images."))  # fmt: skip
    file = {"name": "three.png", "mimeType": "image/png", "buffer": digit("3")}
    walk.timed("an image of one's own", lambda: walk.page.locator("input[type=file]").set_input_files(file),
               lambda: walk.see("as the networks see it"))  # fmt: skip
    walk.page.locator(".st-key-own_answers").scroll_into_view_if_needed()
    walk.picture("own-image")


def sweep(walk: Walk, url: str) -> None:
    """Six runs from the example's smallest network, stopped early where they are behind."""
    walk.page.goto(f"{url}/plan?run={runs.EXAMPLE}")
    walk.see("Steps in order")
    walk.choose("Start from", "iteration 5 of")
    walk.page.get_by_text("fraction", exact=True).click()
    walk.see("fraction 0")
    walk.settled()
    first = walk.page.get_by_role("combobox", name="Setting", exact=True)
    retry(lambda: walk.page.get_by_text("Sweep…").click(), first)
    walk.choose("Setting", "Learning rate of retraining")
    walk.fill("Values", "0.02, 0.05, 0.00001")
    walk.choose("Second setting", "Seed")
    walk.fill("Values of the second setting", "0, 1")
    walk.picture("sweep-planned")
    walk.timed("launching six runs", lambda: walk.press("Launch 6 runs"), lambda: walk.see("of 6 runs finished"))
    walk.picture("sweep-live")
    walk.timed("the sweep", lambda: None,
               lambda: walk.page.get_by_role("button", name="Stop sweep…").wait_for(state="detached"))  # fmt: skip
    walk.see("What does")
    walk.picture("sweep-ended")


def queue(walk: Walk, url: str, folder: Path, data: str) -> list[str]:
    """Five runs, of which the last goes first and one is taken out. Returns those that are left, in order."""
    asked = [spec.parse({"model": "lenet5", "data": data, "name": f"run {name}", **SLOW}) for name in "ABCDE"]
    ids = [control.launch(one, folder) for one in asked]

    def row(run_id: str):
        return walk.page.locator(f".st-key-waiting_cpu_{run_id}")

    walk.timed("Queue", lambda: walk.page.goto(f"{url}/queue"), row(ids[4]).wait_for)
    walk.picture("queue")
    walk.timed("a run moved to the front", row(ids[4]).get_by_role("button", name="First", exact=True).click,
               lambda: row(ids[4]).get_by_text("1.", exact=False).first.wait_for())  # fmt: skip
    row(ids[2]).get_by_role("button", name="Take out", exact=True).click()
    row(ids[2]).wait_for(state="detached")
    row(ids[3]).get_by_role("button", name="Hold", exact=True).click()
    walk.see("held until it is released")
    walk.picture("queue-changed")
    return [ids[0], ids[4], ids[1], ids[3]]


def two_people(walk: Walk, url: str, run_id: str) -> None:
    """Another person pauses the run that this one watches; refresh and back keep the view."""
    walk.page.goto(f"{url}/run?run={run_id}")
    walk.see(re.compile("^Running"))
    walk.picture("run-live")
    other = walk.page.context.browser.new_context().new_page()
    other.goto(f"{url}/run?run={run_id}")
    other.get_by_role("button", name="Pause").click()
    walk.timed("a pause that somebody else asked for", lambda: None, lambda: walk.see("This run is paused."))
    other.context.close()
    walk.page.reload()
    walk.see("This run is paused.")
    walk.open("Compare")
    walk.page.go_back()
    walk.page.get_by_role("heading", name="Run", exact=True).wait_for()


def restart(walk: Walk, url: str, server: Popen, folder: Path, paused: str) -> None:
    """The server is killed in the middle and started again: the runs have gone on."""
    control.resume(folder, paused)
    server.kill()
    server.wait()
    with serving("dashboard/app.py", ROOT, port=int(url.rpartition(":")[2]), TRIMCORE_RUNS=str(folder),
                 log=str(folder.parent / "again.log")):  # fmt: skip
        walk.timed("the page after the server was killed", lambda: walk.page.goto(f"{url}/queue"),
                   lambda: walk.see("waiting"))  # fmt: skip
        idle(walk.page)
        walk.picture("after-restart")
    for run_id in runs.list_unfinished(folder):
        if runs.state_of(folder / run_id).active:
            control.ask(folder, run_id, "stop")


def digit(text: str) -> bytes:
    """A digit in white on black, as PNG."""
    image, content = Image.new("L", (28, 28)), io.BytesIO()
    ImageDraw.Draw(image).text((9, 3), text, fill=255, font_size=22)
    image.save(content, "PNG")
    return content.getvalue()
