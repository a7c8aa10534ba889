"""A shared server: runs are visible only after a login, and a server that is open to all shows a warning."""

import contextlib

import pytest

from dashboard.session import login
from tests.dashboard.fakes import fake_run
from tests.dashboard.pages import page as opened
from tests.dashboard.serving import ROOT, free_port, serving
from tests.dashboard.viewers import viewing

PATIENCE = 60_000


@pytest.mark.parametrize(("email", "verified", "patterns", "expected"), [
    (None, None, None, True), ("x@y.z", False, None, True), ("ada@example.org", True, ["ada@example.org"], True),
    ("Ada@Example.ORG", None, ["*@example.org"], True), ("ada@example.org.evil.com", True, ["*@example.org"], False),
    ("ada@example.org", False, ["*@example.org"], False), (None, True, ["*"], False), ("", True, ["*"], False),
    ("bob@example.org", True, ["ada@example.org", "eve@*"], False), ("ada@example.org", True, [], False),
])  # fmt: skip
def test_allowed_accounts(email, verified, patterns, expected):
    assert login.allowed(email, verified, patterns) is expected


@pytest.mark.parametrize(
    ("address", "warns"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True), (None, True)]
)
def test_an_open_server_shows_a_warning(monkeypatch, address, warns):
    import streamlit as st

    real = st.get_option
    monkeypatch.setattr(st, "get_option", lambda name: address if name == "server.address" else real(name))
    warnings = [one.value for one in opened("model").warning]
    assert any("can be reached from other machines" in text for text in warnings) is warns


@pytest.fixture
def shared(tmp_path):
    """shared(allow=...): a server that requires a login and has a run. Returns its address, the issuer and the run."""
    pytest.importorskip("authlib", reason="a login needs streamlit[auth]")
    from tests.dashboard.issuer import CLIENT, PASSWORD, issuing

    with contextlib.ExitStack() as stack:
        def start(allow: str = ""):
            issuer, port = stack.enter_context(issuing()), free_port()
            widths = [{"conv1": 20, "conv2": 50, "fc1": 500}]
            run_id = fake_run(tmp_path / "runs", {"name": "confidential"}, widths, [0.9])
            secrets = tmp_path / "secrets.toml"
            secrets.write_text(f"""
                [auth]
                redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
                cookie_secret = "{'x' * 40}"
                client_id = "{CLIENT}"
                client_secret = "{PASSWORD}"
                server_metadata_url = "{issuer.url}/.well-known/openid-configuration"
                {allow}
            """, "utf-8")  # fmt: skip
            where = {"TRIMCORE_RUNS": str(tmp_path / "runs"), "log": str(tmp_path / "log")}
            url, _ = stack.enter_context(
                serving("dashboard/app.py", ROOT, port, [f"--secrets.files={secrets}"], **where)
            )
            return url, issuer, run_id

        yield start


@pytest.fixture
def page(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    context.close()


@pytest.mark.browser
def test_a_run_is_visible_only_while_logged_in(shared, page):
    url, issuer, run_id = shared()
    page.goto(f"{url}/run?run={run_id}")
    page.get_by_role("button", name="Log in").wait_for()
    assert "confidential" not in page.content()
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("ada@example.org").wait_for()
    assert "/authorize" in issuer.asked
    page.goto(f"{url}/run?run={run_id}")
    page.get_by_text("confidential").first.wait_for()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("button", name="Log in").wait_for()
    page.goto(f"{url}/run?run={run_id}")
    page.get_by_role("button", name="Log in").wait_for()
    assert "confidential" not in page.content()


@pytest.mark.browser
def test_an_account_that_is_not_on_the_list_sees_nothing(shared, page):
    url, issuer, run_id = shared(allow='[people]\nallow = ["*@example.org"]')
    issuer.account = {**issuer.account, "email": "eve@elsewhere.com"}
    page.goto(f"{url}/run?run={run_id}")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("is not on the list").wait_for()
    assert "confidential" not in page.content()
    page.get_by_role("button", name="Log out").click()
    issuer.account = {**issuer.account, "email": "ada@example.org"}
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("ada@example.org").wait_for()


@pytest.mark.browser
def test_without_a_cookie_the_server_sends_no_run_data(shared, eventually):
    """Not even to a client that is not a browser."""
    url, _, run_id = shared()
    with viewing(f"{url}/run?run={run_id}", 1) as (viewer,):
        eventually(lambda: viewer.finished, 60)
        assert list(viewer.buttons) == ["Log in"]
        assert b"confidential" not in viewer.everything
