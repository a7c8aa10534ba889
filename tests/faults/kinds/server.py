"""The server is killed that shows a run to two people: the run does not notice."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.dashboard.serving import ROOT, serving, wait_until_healthy
from tests.dashboard.viewers import viewing
from tests.faults.scene import (
    KILLED,
    Broken,
    Scene,
    kill,
    lives,
    process_of,
    until,
)


def server_killed(scene: Scene) -> Path:
    """Two people watch; the run does not notice, and the server that comes next shows it."""
    run = scene.launch()
    with watched(scene, run) as (url, server):
        scene.some_moment(run)
        before = [process_of(run, role) for role in ("supervisor", "worker")]
        server.kill()
        server.wait()
        scene.check_true(run, set())
        for process in filter(None, before):
            if not lives(process) and scene.state(run).state != "finished":
                raise Broken("the run ended with the server")
    with watched(scene, run):
        pass
    return run


def all_three_killed(scene: Scene) -> Path:
    run = scene.launch()
    with watched(scene, run) as (url, server):
        scene.some_moment(run)
        kill(run, "supervisor", "worker")
        server.kill()
        server.wait()
    scene.check_true(run, KILLED)
    with watched(scene, run):
        pass
    return run


@contextlib.contextmanager
def watched(scene: Scene, run: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """A server, and two people on the page of the run; it must have drawn it without a fault."""
    log = scene.folder.parent / "server.log"
    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(scene.folder), log=str(log)) as (url, server):
        wait_until_healthy(url, server, log)
        try:
            with viewing(f"{url}/run?run={run.name}", 2) as people:
                until(lambda: all(one.finished for one in people), "the page being drawn")
                yield url, server
        except AssertionError as error:
            if isinstance(error, Broken) or server.poll() is None:
                raise  # people whose server was killed are told so
    if "Traceback" in log.read_text("utf-8", "replace"):
        raise Broken(f"the server had a fault: see {log}")
