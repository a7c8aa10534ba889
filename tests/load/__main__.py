"""Many people at one server, and two hours of watching: `python -m tests.load`, in about twenty minutes.

Twenty sessions, as browsers open them: eight launch runs in the same seconds and watch them, a sweep of twelve is
launched beside them, four watch the first run, three the queue, two the comparison, three edit plans; each has its page
drawn anew every three seconds. Runs on one device must begin in the order in which they were asked for, and all must
finish. Then five sessions watch a run for two hours, up to twenty times as fast, while the memory of the server is
looked at. Nothing else should be running.
"""

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

import psutil

from tests.dashboard.fakes import fake_run
from tests.dashboard.serving import ROOT, serving
from tests.dashboard.viewers import Viewer
from trimcore import runs
from trimcore.system import processes
from trimcore.system.files import read_json

LAUNCHERS, EDITORS = 8, 3
WATCHED = ["run"] * 4 + ["queue"] * 3 + ["compare"] * 2  # the pages of the others
EVERY = 3.0  # seconds between two clicks of a person
SECONDS, SPEED = 2 * 3600, 20.0
LAUNCH = "Trim it now with the defaults"
PATIENCE = 1800.0
SWEEP = """
model = "lenet5"
data = "mnist-5k"
device = "cpu"
base.epochs = 1
retrain.epochs = 1
step = [{ layers = ["fc1"], rule = "fraction", value = 0.1, iterations = 1 }]
[sweep]
values = { "step.value" = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65] }
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description="Many people at one server.")
    parser.add_argument("--only", choices=["crowd", "hours"])
    asked, rows = parser.parse_args(), []
    with tempfile.TemporaryDirectory() as place:
        for name, part in (("crowd", crowd), ("hours", hours)):
            if asked.only in (None, name):
                folder = Path(place) / name
                folder.mkdir()
                where = {"TRIMCORE_RUNS": str(folder / "runs"), "log": str(folder / "log")}
                with serving("dashboard/app.py", ROOT, **where) as (url, own):
                    rows += asyncio.run(part(url, psutil.Process(own.pid), folder / "runs"))
                faults = (folder / "log").read_text("utf-8", "replace").count("Traceback")
                rows.append((f"{name}: faults in the server's log", f"{faults}", "0", faults == 0))
    print("| figure | measured | promised | |\n|---|---|---|---|")
    for figure, measured, promised, kept in rows:
        print(f"| {figure} | {measured} | {promised} | {'kept' if kept else 'MISSED'} |")
    return not all(kept for *_, kept in rows)


async def crowd(url: str, server: psutil.Process, folder: Path) -> list[tuple]:
    """Twenty people, eight runs and a sweep of twelve."""
    until, chance = asyncio.Event(), random.Random(0)
    launchers = [Viewer(url) for _ in range(LAUNCHERS)]
    editors = [Viewer(f"{url}/plan") for _ in range(EDITORS)]
    tasks = [asyncio.create_task(one.watch(until)) for one in (*launchers, *editors)]
    await eventually(lambda: all(LAUNCH in one.buttons for one in launchers) and all(one.finished for one in editors))
    for one in (*launchers, *editors):
        one.waits.clear()  # the first ones also waited for the server to load what it needs
    for one in launchers:
        await one.press(LAUNCH)
        await asyncio.sleep(0.3 * chance.random())
    await eventually(lambda: len(runs.list_runs(folder)) == LAUNCHERS)
    launched = runs.list_runs(folder)
    first = min(launched, key=lambda run_id: queued_at(folder / run_id))
    (folder.parent / "sweep.toml").write_text(SWEEP, "utf-8")
    command = [sys.executable, "-m", "trimcore", "launch", str(folder.parent / "sweep.toml"), "--runs", str(folder)]
    await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=True, capture_output=True)
    watchers = [Viewer(f"{url}/{page}?run={first}") for page in WATCHED]
    tasks += [asyncio.create_task(one.watch(until)) for one in watchers]
    everybody = [*launchers, *editors, *watchers]
    clicks = [asyncio.create_task(clicking(one, random.Random(number))) for number, one in enumerate(everybody)]
    began, memory = time.monotonic(), server.memory_info().rss
    ids = runs.list_runs(folder)
    await eventually(lambda: not any(runs.state_of(folder / run_id).active for run_id in ids), PATIENCE)
    seconds, after = time.monotonic() - began, server.memory_info().rss
    for task in clicks:
        task.cancel()
    until.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    waits = sorted(wait for one in everybody for wait in one.waits)
    asked = sorted(launched, key=lambda run_id: queued_at(folder / run_id))
    begun = sorted(launched, key=lambda run_id: next(runs.read_events(folder / run_id, ("started",)))["time"])
    finished = sum(runs.state_of(folder / run_id).state == "finished" for run_id in ids)
    nth = waits[int(0.95 * len(waits))]
    return [
        (f"{len(everybody)} sessions, {seconds:.0f} s: pages drawn anew", f"{len(waits):,}", "", True),
        ("95th percentile of a rerun, s", f"{nth:.2f} (median {statistics.median(waits):.2f}, most {waits[-1]:.2f})",
         "< 0.8", nth < 0.8),
        ("launched runs that began in the order in which they were asked for",
         f"{sum(map(str.__eq__, asked, begun))} of {len(launched)}", f"{len(launched)}", asked == begun),
        ("runs that finished, with those of the sweep", f"{finished} of {len(ids)}", f"{len(ids)}",
         finished == len(ids)),
        ("memory of the server, MB, then and at the end", f"{memory >> 20} -> {after >> 20}", "", True),
    ]  # fmt: skip


async def clicking(viewer: Viewer, chance: random.Random) -> None:
    while True:
        await asyncio.sleep(EVERY * (0.5 + chance.random()))
        if viewer.socket is not None and not viewer.asked:  # nobody clicks before the page has been drawn
            await viewer.press()


async def hours(url: str, server: psutil.Process, folder: Path) -> list[tuple]:
    """Five people watch a run that trains for two hours: an epoch every ten seconds of theirs."""
    run = folder / fake_run(folder, {}, [{"conv1": 20, "conv2": 50, "fc1": 500}], [0.9])
    (run / "exit.json").unlink()
    sign_of_life(run)
    until, people = asyncio.Event(), [Viewer(f"{url}/run?run={run.name}", SPEED) for _ in range(5)]
    tasks = [asyncio.create_task(one.watch(until)) for one in people]
    ticks, seen, event = SECONDS * len(people), [], next(runs.read_events(run, ("epoch",)))
    await eventually(lambda: all(one.finished > 1 for one in people))
    begun, epochs = sum(one.finished for one in people), 1
    while (done := sum(one.finished for one in people) - begun) < ticks:
        if done >= epochs * 10 * len(people):
            epochs += 1
            with open(run / "events.jsonl", "a", encoding="utf-8") as file:
                file.write(runs.json.dumps({**event, "seq": 100 + epochs, "epoch": epochs, "epochs": 9999}) + "\n")
        sign_of_life(run)
        if done >= len(seen) * ticks // 20:
            seen.append(server.memory_info().rss / 2**20)
        await asyncio.sleep(0.1)
    until.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    early, late = statistics.mean(seen[4:8]), statistics.mean(seen[-4:])  # after a fifth, when all caches are there
    growth = 100 * (late / early - 1)
    shown = ", ".join(f"{value:.0f}" for value in seen[::4])
    figure = f"memory of the server over {ticks:,} ticks, MB"
    return [(figure, f"{shown}; {growth:+.1f} % from the second fifth to the last", "<= 5 %", growth <= 5)]


def sign_of_life(run: Path) -> None:
    runs.update_status(run, state="running", trainer=processes.identity(os.getpid()), heartbeat=time.time(),
                       phase="base", iteration=0, iterations=1, epoch=1, epochs=9999, step=1, steps=30,
                       fraction=0.1)  # fmt: skip


def queued_at(run: Path) -> float:
    return read_json(run / "status.json").get("queued_at", 0.0)


async def eventually(condition, seconds: float = 120.0) -> Awaitable[None]:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} seconds"
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
