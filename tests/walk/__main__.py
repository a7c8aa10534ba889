"""Walk through the dashboard in a real Chromium like a user: a screenshot of each part, and the time of each wait.

    python -m tests.walk FOLDER [--width 420] [--dark] [--data mnist] [--only PART]

LeNet-5, on mnist-5k unless `--data` names other data: a first run from the start page to the report; then a day's work
with what changed in that run (in the example, if there is none), a sweep, a queue, a second person and a server that is
killed; then the path of a stranger to an INT8 network, with its clicks. FOLDER receives the screenshots and a runs
folder. The printed waits, in seconds, are those of the server's first visitor.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.dashboard.serving import ROOT, serving
from tests.walk import day, first_run, stranger
from tests.walk.walker import Walk

PATIENCE = 600_000  # ms; a run on all of MNIST takes minutes
FLAGS = ["--no-sandbox", "--disable-gpu"]
PARTS = ("first-run", "day", "stranger")


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.walk", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1600)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--data", default="mnist-5k")
    parser.add_argument("--only", choices=PARTS, action="append")
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        context = browser.new_context(
            viewport={"width": given.width, "height": given.height}, color_scheme="dark" if given.dark else "light",
            accept_downloads=True,
        )  # fmt: skip
        context.set_default_timeout(PATIENCE)
        walk = Walk(context.new_page(), folder)
        runs_folder = folder / "runs"
        for part in given.only or PARTS:
            environment = {"TRIMCORE_RUNS": str(runs_folder), "log": str(folder / f"{part}.log")}
            with serving("dashboard/app.py", ROOT, **environment) as (url, server):
                print(part, flush=True)
                if part == "first-run":
                    first_run.everything(walk, url, given.data)
                elif part == "day":
                    day.everything(walk, url, server, runs_folder, given.data)
                else:
                    stranger.everything(walk, url)
        browser.close()


if __name__ == "__main__":
    main()
