"""Start a real Streamlit server for a test, and wait for it without fixed sleeps."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(
    script: str, folder: Path, port: int | None = None, options: Sequence[str] = (), **environment: str
) -> Iterator[tuple[str, subprocess.Popen]]:
    """A server for `script`, started in `folder`, with further options. Yields its address and its process, and stops
    it afterwards."""
    port = port or free_port()
    url, log_path = f"http://127.0.0.1:{port}", Path(environment.pop("log", folder / "server.log"))
    with open(log_path, "w") as log:  # an unread pipe could block the server
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", script, "--server.headless=true", f"--server.port={port}",
             "--server.address=127.0.0.1", "--server.fileWatcherType=none", "--browser.gatherUsageStats=false",
             *options],
            cwd=folder, stdout=log, stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        )  # fmt: skip
    try:
        wait_until_healthy(url, process, log_path)
        yield url, process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def idle(page) -> None:
    """Wait until the page's script has finished. A list that is opened before that may be redrawn and close."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def retry(act: Callable[[], None], expected, tries: int = 6) -> None:
    """Repeat an action until the locator `expected` appears. On a busy machine, an element that is being redrawn
    ignores clicks, and an open list closes."""
    from playwright.sync_api import TimeoutError as NotYet

    for remaining in reversed(range(tries)):
        try:
            act()
            return expected.wait_for(timeout=10_000)
        except NotYet:
            if not remaining:
                raise


def wait_until_healthy(url: str, process: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")
