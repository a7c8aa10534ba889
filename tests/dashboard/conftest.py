import shutil

import pytest

from trimcore import spec
from trimcore.jobs import control
from trimcore.models import own


@pytest.fixture(autouse=True)
def only_the_page_imports_no_code(monkeypatch):
    """The app forbids its process to import code; the tests that come after share that process."""
    monkeypatch.setenv(own.FORBIDDEN, "")


@pytest.fixture
def launched(monkeypatch) -> list[spec.Spec]:
    """The specs that the page launches; none of them is carried out."""
    found = []
    monkeypatch.setattr(control, "launch", lambda asked, folder: found.append(asked) or "a-run")
    return found


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium that is installed on this machine; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ["chromium", "chromium-browser", "google-chrome"]
    executable = next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        pytest.skip(f"no Chromium on PATH (looked for {', '.join(names)})")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=flags)
        yield browser
        browser.close()
