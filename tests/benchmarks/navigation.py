"""How long it takes to change from one page to another: `python -m tests.benchmarks.navigation`."""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page

from tests.benchmarks.pages import REDRAWN, browser
from tests.benchmarks.rows import Row, of_a_part
from tests.dashboard.serving import ROOT, idle, serving
from trimcore import runs

PAGES = ("Start", "Model", "Profile", "Plan", "Run", "Queue", "Compare", "Report")


def rows(rounds: int = 5) -> Iterator[Row]:
    """The shipped run on each page, from the click on the page's link to the last change of the page."""
    times: dict[str, list[float]] = {name: [] for name in PAGES}
    with (
        tempfile.TemporaryDirectory() as place,
        serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=place, log=str(Path(place) / "log")) as (url, _),
        browser() as page,
    ):
        page.goto(f"{url}/run?run={runs.EXAMPLE}")
        idle(page)
        for number in range(rounds + 1):  # the first round lets the server import and the browser load
            for name in PAGES:
                took = _opened(page, name)
                if number:
                    times[name].append(took)
    medians = {name: statistics.median(each) for name, each in times.items()}
    slowest = max(medians, key=medians.get)
    said = ", ".join(f"{name} {medians[name]:,.0f}" for name in PAGES)
    yield Row("page changes", "LeNet-5, five iterations", "ms to the last change, the slowest page", medians[slowest],
              "<= 600", note=said)  # fmt: skip


def _opened(page: Page, name: str) -> float:
    idle(page)
    page.wait_for_timeout(300)
    page.evaluate(REDRAWN)
    page.get_by_test_id("stSidebarNavLink").filter(has_text=name).click()
    return page.evaluate("() => window.redrawn")


if __name__ == "__main__":
    of_a_part(rows())
