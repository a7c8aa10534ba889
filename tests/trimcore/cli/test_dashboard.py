"""`trimcore dashboard`, started in a folder that is not the checkout."""

import http.client
import os
import runpy
import subprocess
import sys

import psutil
import pytest

from tests.dashboard.serving import ROOT, free_port, wait_until_healthy
from trimcore.cli.main import main


@pytest.fixture
def started(tmp_path):
    """The port of the server and its process."""
    port, log = free_port(), tmp_path / "log"
    options = ["--server.port", str(port), "--server.headless", "true"]
    with open(log, "w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "trimcore", "dashboard", *options], cwd=tmp_path, stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TRIMCORE_RUNS": str(tmp_path / "runs")},
        )  # fmt: skip
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", process, log)
        yield port, process
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_the_safe_settings_hold_in_any_folder(started):
    port, process = started
    listening = {c.laddr.ip for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    answers = {host: _status(port, host) for host in (f"127.0.0.1:{port}", "evil.example.org")}
    assert answers == {f"127.0.0.1:{port}": 101, "evil.example.org": 403}


def _status(port: int, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/_stcore/stream", headers={
        "Host": host, "Origin": f"http://{host}", "Connection": "Upgrade", "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "streamlit",
    })  # fmt: skip
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_command_for_the_end_of_runs_reaches_their_supervisors(tmp_path, monkeypatch, capfd):
    started = []
    monkeypatch.setenv("TRIMCORE_ON_END", "")
    monkeypatch.setattr(runpy, "run_module", lambda *names, **settings: started.append(os.environ["TRIMCORE_ON_END"]))
    for what in ("https://example.org/hook", "no-such-program"):
        monkeypatch.setattr(sys, "argv", ["trimcore", "dashboard", "--on-end", what, "--server.port", "8502"])
        main()
    assert started == ["https://example.org/hook"]
    assert "no program 'no-such-program'" in capfd.readouterr().err


def test_data_folders_reach_the_dashboard_and_other_options_streamlit(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(runpy, "run_module", lambda *names, **settings: started.append(sys.argv))
    monkeypatch.chdir(tmp_path)
    asked = ["trimcore", "dashboard", "--data-folder", "photos", "--server.port", "8502", "--data-folder", "/data"]
    monkeypatch.setattr(sys, "argv", asked)
    assert main() == 0
    app = str(ROOT / "dashboard" / "app.py")
    folders = ["--", "--data-folder", str(tmp_path / "photos"), "--data-folder", "/data"]
    assert started == [["streamlit", "run", app, "--server.port", "8502", *folders]]
