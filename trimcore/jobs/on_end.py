"""What runs when a run ends: a command or a webhook, named by the person who starts the server or the command line.

It never comes from a spec or a browser. The environment variable TRIMCORE_ON_END takes it to the supervisors, which do
not load torch.
"""

import contextlib
import http.client
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from trimcore import runs
from trimcore.errors import TrimError
from trimcore.system.logs import LOG

ON_END = "TRIMCORE_ON_END"
LIMIT = 60.0  # seconds for a command
ANSWER = 10.0  # seconds for each answer of a server
LONGEST = 2_000  # characters of a value
PREFIX = "TRIMCORE_"


def use(what: str) -> None:
    """Call this command or address for every run that ends, in this process and in those that it starts; nothing if it
    is empty. Raises TrimError for a command that does not exist and for an address without a host."""
    if not what:
        os.environ.pop(ON_END, None)
    elif _is_address(what):
        if not urlsplit(what).hostname:
            raise TrimError("--on-end needs an address with a host, such as https://example.org/hook")
        os.environ[ON_END] = what
    else:
        words = _words(what)
        program = shutil.which(words[0]) if words else None
        if program is None:
            named = repr(words[0]) if words else "is named"
            raise TrimError(f"--on-end needs a command, or an address with http:// or https://: no program {named}")
        os.environ[ON_END] = shlex.join([os.path.abspath(program), *words[1:]])  # runs have folders of their own


def end(folder: Path, state: str, reason: str, code: int = 0) -> dict[str, Any]:
    """Record the outcome of a run, as `runs.write_exit` does, and tell of it."""
    ended = runs.write_exit(folder, state, reason, code)
    tell(folder, ended)
    return ended


def tell(folder: Path, ended: dict[str, Any]) -> None:
    """Call the command or the webhook for a run that has ended. A failure is a line in the log and changes nothing."""
    if not (what := os.environ.get(ON_END)):
        return
    name = "the command"
    try:
        values = values_of(folder, ended)
        if _is_address(what):
            name = f"{urlsplit(what).hostname}"  # paths and queries of webhooks are secrets, and everyone sees the log
            _post(what, values)
        else:
            words = _words(what)
            name = Path(words[0]).name
            _run(words, values, folder)
        LOG.info(f"on end: told {name}")
    except Exception as error:  # noqa: BLE001 (the run has ended, whatever happens here)
        LOG.warning(f"on end: {name}: {_describe(error)}")


def values_of(folder: Path, ended: dict[str, Any]) -> dict[str, Any]:
    """What is told about a run: its result's value of the headline metric on the test split, and how small it is."""
    from trimcore.tables import latest, metric_of, value_of  # pandas: only now, as a supervisor waits for hours

    events = list(runs.read_events(folder, ("started", "iteration", "ended")))
    rows = latest(events, "iteration")
    result = rows.get(runs.result_in(events), {})
    return {
        "run": folder.name, "name": runs.notes_of(folder).name or runs.launched_as(folder / "spec.toml"),
        "state": ended["state"], "reason": ended["reason"], "metric": metric_of(events).name,
        "value": _finite(value_of(result, "accuracy_final")), "compression": _finite(result.get("compression")),
        "iterations": max(rows, default=0),
    }  # fmt: skip


def _finite(value: Any) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _is_address(what: str) -> bool:
    return what.lower().startswith(("http://", "https://"))


def _words(what: str) -> list[str]:
    try:
        return shlex.split(what)
    except ValueError as error:
        raise TrimError(f"--on-end is no command: {error}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET without content."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(address: str, values: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "trimcore"}
    request = urllib.request.Request(address, json.dumps(values).encode(), headers, method="POST")
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=ANSWER):
        pass


def _run(words: list[str], values: dict[str, Any], folder: Path) -> None:
    """Run a command without a shell. Its output is not kept, except the last line if it fails."""
    own = {f"{PREFIX}{key.upper()}": _plain(value) for key, value in values.items()}
    environment = {**os.environ, **own, "TRIMCORE_RUNS": str(folder.parent.resolve())}
    environment.pop(ON_END, None)  # else runs that it starts would call it again
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = process.wait(LIMIT)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # with what it started
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise TrimError(f"it took longer than {LIMIT:g} seconds and was ended") from None
            raise
        if code:
            raise TrimError(f"it ended with code {code}{_last_line(output)}")


def _plain(value: Any) -> str:
    """A value as an environment variable: text of any content but without null characters, which none can have."""
    text = "" if value is None else str(value)
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:LONGEST]


def _last_line(output: IO[bytes]) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - 1_000))
    lines = output.read().decode("utf-8", "replace").strip().splitlines()
    return f": {''.join(filter(str.isprintable, lines[-1][-200:]))}" if lines else ""


def _describe(error: Exception) -> str:
    """One line that quotes nothing of an address."""
    if isinstance(error, TrimError):
        return str(error)
    if isinstance(error, urllib.request.HTTPError):
        return f"it answered {error.code}"
    if isinstance(error, http.client.HTTPException | UnicodeError):
        return f"no valid address or answer ({type(error).__name__})"
    reason = getattr(error, "reason", error)
    text = getattr(reason, "strerror", None) or (str(reason) if isinstance(error, OSError) else type(error).__name__)
    return " ".join(text.split())
