"""How fast the pages are: `python -m tests.benchmarks.pages`, in two to three minutes. It needs a Chromium.

A real server, a real browser, and for the trainer a real run. The viewers that must not slow it down have no browser
(see `tests.dashboard.viewers`): in practice theirs are on other machines, and on this one ten would take all cores.
"""

import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from playwright.sync_api import Page, sync_playwright

from tests.benchmarks.rows import Row, in_ms, of_a_part
from tests.dashboard.fakes import fake_run
from tests.dashboard.large import fake_vgg16, many_runs, vgg16_draft, vgg16_widths
from tests.dashboard.serving import ROOT, idle, serving
from tests.dashboard.viewers import viewing
from trimcore import runs
from trimcore.system import processes

RUNS, VIEWERS, WINDOW = 1000, 10, 4.0  # seconds of training with viewers, then as many without
FLAGS = ["--no-sandbox", "--disable-gpu"]
# The time from a press to the last change of the page before a quarter of a second without any. What a screen reader
# finds of a table that is drawn on a canvas comes 200 ms later and shows nothing: it does not count.
REDRAWN = """() => { window.redrawn = new Promise(done => {
    let began = 0, last = 0, changes = 0
    document.addEventListener('pointerdown', event => { began = last = performance.now() }, {once: true, capture: true})
    const shown = record => !(record.target.parentElement ?? record.target).closest('canvas')
    const eye = new MutationObserver(records => {
        if (began && records.some(shown)) { last = performance.now(); changes += 1 }
    })
    eye.observe(document.querySelector('[data-testid=stMain]'), {childList: true, characterData: true, subtree: true})
    const clock = setInterval(() => {
        const app = document.querySelector('[data-testid=stApp]')
        const still = app.dataset.testScriptState == 'notRunning' && changes && performance.now() - last > 250
        if (still) { clearInterval(clock); eye.disconnect(); done(last - began) }
    }, 20)
})}"""
POINTS = "() => (document.querySelector('.st-key-loss .js-plotly-plot')?.calcdata ?? []).flat().length"


def rows(rounds: int = 5) -> Iterator[Row]:
    """One figure for each promise."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        vgg = folder / "vgg"
        run_id = fake_vgg16(vgg)
        yield figures(vgg, run_id)
        with browser() as page:
            yield plan(page, vgg, run_id, rounds)
            yield live(page, folder / "live", rounds + 3)
        yield listing(folder / "thousand", rounds)
        yield viewers(folder / "training", rounds)


def plan(page: Page, folder: Path, run_id: str, rounds: int) -> Row:
    """One layer after another is added to a step: each time another plan."""
    layers = [name for name in vgg16_widths() if name.startswith("features")]
    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(folder), log=str(folder / "log")) as (url, own):
        page.goto(f"{url}/plan?run={run_id}")
        page.get_by_role("button", name="Plan for this run").click()
        page.locator(".st-key-widths .js-plotly-plot").wait_for()
        for layer in layers[:2]:
            _pressed(page, layer)
        server, chromium = [psutil.Process(own.pid)], psutil.Process().children(recursive=True)
        chromium = [process for process in chromium if "chrom" in process.name()]
        before = _busy(server), _busy(chromium)
        times = [_pressed(page, layer) for layer in layers[2 : rounds + 2]]
        work = [1e3 * (_busy(one) - was) / rounds for one, was in zip((server, chromium), before, strict=True)]
    return Row("Plan page", "VGG-16, 12,416 neurons", "ms from a click to the last change", statistics.median(times),
               "<= 300", note=f"least {min(times):,.0f}, most {max(times):,.0f} ms; of a core the server takes "
               f"{work[0]:,.0f} ms a click and the browser {work[1]:,.0f} ms")  # fmt: skip


def _busy(processes: list[psutil.Process]) -> float:
    """The seconds of a core that they have taken, however many others wanted it."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _pressed(page: Page, layer: str) -> float:
    idle(page)
    page.evaluate(REDRAWN)
    page.get_by_role("button", name=layer, exact=True).click()
    return page.evaluate("() => window.redrawn")


def figures(folder: Path, run_id: str) -> Row:
    """What each page sends to the browser of a run of eight iterations."""
    from tests.dashboard.pages import page  # it imports the whole app

    sizes: dict[str, int] = {}
    with environment(TRIMCORE_RUNS=str(folder)):
        for name in ("model", "profile", "plan", "run", "compare", "report"):
            charts = page(name, run=run_id, draft=vgg16_draft()).get("plotly_chart")
            sizes[name] = max((len(chart.proto.spec.encode()) for chart in charts), default=0)
    most = max(sizes, key=sizes.get)
    return Row("figures", "VGG-16, 12,416 neurons, 8 iterations", "kB of the largest", sizes[most] / 1e3, "<= 500",
               note=f"on {most.capitalize()}")  # fmt: skip


def live(page: Page, folder: Path, rounds: int) -> Row:
    """From the moment an epoch is recorded to its point in the chart."""
    run = folder / fake_run(folder, {}, [{"conv1": 20, "conv2": 50, "fc1": 500}], [0.9])
    (run / "exit.json").unlink()
    epoch = next(event for event in runs.read_events(run) if event["kind"] == "epoch")
    times = []
    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(folder), log=str(folder / "log")) as (url, _):
        _sign_of_life(run)
        page.goto(f"{url}/run?run={run.name}")
        page.wait_for_function(f"() => ({POINTS})() > 0")
        for number in range(2, rounds + 4):
            page.wait_for_timeout(random.uniform(0, 1000))  # at any moment of the page's own beat
            _sign_of_life(run)
            before = page.evaluate(POINTS)
            with open(run / "events.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({**epoch, "seq": 100 + number, "epoch": number, "epochs": 99}) + "\n")
            began = time.perf_counter()
            page.wait_for_function(f"before => ({POINTS})() > before", arg=before, polling=20)
            times.append(time.perf_counter() - began)
    times = times[2:]
    return Row("Run page", "an epoch is recorded", "s until it is in the chart, the most", max(times), "<= 1.5",
               note=f"median {statistics.median(times):.2f} s")  # fmt: skip


def _sign_of_life(run: Path) -> None:
    runs.update_status(run, state="running", trainer=processes.identity(), heartbeat=time.time(), phase="base",
                       iteration=0, iterations=1, epoch=1, epochs=99, step=1, steps=30, fraction=0.1)  # fmt: skip


def listing(folder: Path, rounds: int) -> Row:
    """What the side bar, the table and the tree of Compare do to list their runs."""
    from dashboard.compare import tree
    from dashboard.compare.run_table import read_runs
    from dashboard.session import lineage, run_reader
    from dashboard.widgets import sidebar

    many_runs(folder, RUNS)

    def side_bar() -> None:
        assert len([sidebar.label(run_id) for run_id in run_reader.run_ids()]) == RUNS

    def branches() -> None:
        parents = run_reader.parents()
        tree.nodes(parents, lineage.newest(parents, list(parents), tree.MAX_RUNS))

    parts = {"side bar": side_bar, "table": read_runs, "tree": branches}
    with environment(TRIMCORE_RUNS=str(folder)):
        first = {name: _seconds(part) for name, part in parts.items()}
        again = {name: statistics.median(_seconds(part) for _ in range(rounds)) for name, part in parts.items()}
    said = ", ".join(f"{name} {in_ms(again[name])} ({in_ms(first[name])})" for name in parts)
    return Row("lists", f"{RUNS:,} runs", "ms for the slowest of three lists", 1e3 * max(again.values()), "<= 300",
               note=f"{said}; in brackets when the server lists them first")  # fmt: skip


def viewers(folder: Path, rounds: int) -> Row:
    """Images a second of a run that trains, with viewers of its page and without, in turns."""
    folder.mkdir()
    spec = folder / "spec.toml"
    spec.write_text('model = "lenet5"\ndata = "mnist-5k"\ndevice = "cpu"\n[base]\nepochs = 9999\n', "utf-8")
    where = {"TRIMCORE_RUNS": str(folder / "runs")}
    trainer = subprocess.Popen([sys.executable, "-m", "trimcore", "run", str(spec)], cwd=ROOT, env=os.environ | where,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        with serving("dashboard/app.py", ROOT, log=str(folder / "log"), **where) as (url, own):
            run = _training(folder / "runs")
            alone, watched, load = [], [], []
            for number in range(rounds + 1):  # the first turn also lets the server import what it needs
                with viewing(f"{url}/run?run={run.name}", VIEWERS) as open_pages:
                    _until(lambda pages=open_pages: all(one.finished > 1 for one in pages))
                    found, busy = _rate(run, psutil.Process(own.pid))
                if number:
                    watched.append(found)
                    load.append(busy)
                    alone.append(_rate(run, psutil.Process(own.pid))[0])
    finally:
        trainer.terminate()
        trainer.wait()
    slower = 100 * (1 - statistics.median(b / a for a, b in zip(alone, watched, strict=True)))
    return Row("viewers", f"{VIEWERS} on the page of a run, {os.cpu_count()} cores", "% that the trainer loses", slower,
               "<= 3", f"{statistics.median(watched):,.0f} images/s", f"{statistics.median(alone):,.0f} without",
               f"the server takes {100 * statistics.median(load):.1f} % of a core for them")  # fmt: skip


def _training(folder: Path) -> Path:
    """The run, once it has trained for three epochs."""
    _until(lambda: runs.list_runs(folder))
    run = folder / runs.list_runs(folder)[0]
    _until(lambda: len(list(runs.read_events(run, ("epoch",)))) > 3)
    return run


def _rate(run: Path, server: psutil.Process) -> tuple[float, float]:
    """Images a second over the epochs of one window, and the share of a core that the server took."""
    began, busy = time.time(), _busy([server])
    time.sleep(WINDOW)
    busy = (_busy([server]) - busy) / (time.time() - began)
    epochs = [event for event in runs.read_events(run, ("epoch",)) if event["time"] - event["seconds"] > began]
    return statistics.median(event["images_per_second"] for event in epochs), busy


def _until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.05)


def _seconds(part: Callable[[], object]) -> float:
    began = time.perf_counter()
    part()
    return time.perf_counter() - began


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def browser() -> Iterator[Page]:
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        yield page
        chromium.close()


if __name__ == "__main__":
    of_a_part(rows())
