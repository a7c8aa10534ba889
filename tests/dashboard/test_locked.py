"""What the server and its pages refuse by default: contacting other servers, accepting other hosts, large uploads."""

import http.client
import tomllib

import pytest

from tests.dashboard.fakes import fake_run
from tests.dashboard.serving import ROOT, serving

SETTINGS = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))
PAGES = ("Model", "Profile", "Plan", "Run", "Queue", "Compare", "Report")


def test_the_default_settings_are_restrictive():
    server = SETTINGS["server"]
    assert server["address"] == "127.0.0.1"
    assert server["allowedHosts"] == ["localhost", "127.0.0.1"]
    assert server["enableXsrfProtection"] is True
    assert SETTINGS["browser"]["gatherUsageStats"] is False
    assert SETTINGS["client"]["showErrorDetails"] == "none"


@pytest.fixture
def started(tmp_path):
    """A server with a finished run, and its folder."""
    run_id = fake_run(tmp_path / "runs", {}, [{"conv1": 20, "conv2": 50, "fc1": 500}] * 2, [0.9, 0.8])
    options = ["--server.maxUploadSize=1"]
    where = {"TRIMCORE_RUNS": str(tmp_path / "runs"), "log": str(tmp_path / "log")}
    with serving("dashboard/app.py", ROOT, options=options, **where) as (url, _):
        yield url, run_id


@pytest.mark.parametrize(("host", "origin", "status"), [
    ("", "", 101), ("evil.example.org", "", 403), ("", "http://evil.example.org", 403),
])  # fmt: skip
def test_other_hosts_and_origins_are_rejected(started, host, origin, status):
    """A host name that was pointed here (DNS rebinding), and a request from another site. All data of the server goes
    through its WebSocket."""
    address = started[0].removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", "/_stcore/stream", headers={
        "Host": host or address, "Origin": origin or started[0], "Connection": "Upgrade", "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "streamlit",
    })  # fmt: skip
    assert connection.getresponse().status == status
    connection.close()


def test_the_agent_api_is_off(started):
    """Streamlit's agent API is off."""
    connection = http.client.HTTPConnection(started[0].removeprefix("http://"), timeout=10)
    connection.request("POST", "/_stcore/agent/interact", body="{}", headers={"Content-Type": "application/json"})
    assert connection.getresponse().status >= 400
    connection.close()


@pytest.fixture
def page(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()


@pytest.mark.browser
def test_no_page_contacts_another_server(started, page):
    url, run_id = started
    asked = []
    page.context.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.goto(f"{url}/?run={run_id}")
    for name in PAGES:
        page.get_by_role("link", name=name, exact=True).click()
        page.get_by_role("heading", name=name, exact=True).wait_for()
        page.wait_for_load_state("networkidle")
    own = (url, url.replace("http", "ws"), "data:", "blob:")
    assert len(asked) > 10
    assert [one for one in asked if not one.startswith(own)] == []


@pytest.mark.browser
def test_a_file_over_the_limit_is_rejected_before_it_is_read(started, page, tmp_path):
    url, _ = started
    page.goto(f"{url}/model")
    page.get_by_role("heading", name="Model", exact=True).wait_for()
    page.get_by_role("combobox", name="Weights").click()
    page.get_by_role("option", name="checkpoint file").click()
    page.locator("input[type=file]").set_input_files(
        {"name": "large.pt", "mimeType": "application/octet-stream", "buffer": b"x" * (2 << 20)}
    )
    page.get_by_text("1.0MB or smaller").or_(page.get_by_text("1MB or smaller")).first.wait_for()
    assert not (tmp_path / "runs" / ".uploads").exists()
