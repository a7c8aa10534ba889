"""A user who takes screenshots and measures time."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.dashboard.serving import idle, retry


class Walk:
    """A user who takes screenshots and measures time."""

    def __init__(self, page: Page, folder: Path):
        self.page, self.folder, self.number, self.clicks = page, folder, 0, 0

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=re.compile(f"^{re.escape(name)}")).first.click()

    def open(self, page: str) -> None:
        self.page.get_by_role("link", name=page, exact=True).click()
        self.page.get_by_role("heading", name=page, exact=True).wait_for()

    def see(self, text: str | re.Pattern) -> None:
        self.page.get_by_text(text).first.wait_for()

    def picture(self, name: str, of: str = "") -> None:
        """A screenshot of the whole page, or of the element with this key, after everything is drawn."""
        self.number += 1
        self.settled()
        path = self.folder / f"{self.number:02}-{name}.png"
        camera = self.page.locator(f".st-key-{of}") if of else self.page
        camera.screenshot(path=path)
        print(f"    {path.name}", flush=True)

    def settled(self) -> None:
        self.page.wait_for_load_state("networkidle")
        if self.page.url.startswith("http"):
            idle(self.page)
        self.page.evaluate("() => new Promise(done => setTimeout(done, 700))")  # until the charts have moved

    def timed(self, what: str, act: Callable[[], None], until: Callable[[], None]) -> None:
        began = time.perf_counter()
        act()
        until()
        print(f"{time.perf_counter() - began:7.2f} s  {what}", flush=True)

    def step(self, name: str, until: Callable[[], None]) -> None:
        """One click of a path whose clicks are counted."""
        self.clicks += 1
        self.timed(name, lambda: self.press(name), until)

    def choose(self, label: str, option: str) -> None:
        """Choose an option of a select box."""
        box = self.page.get_by_role("combobox", name=label, exact=True)
        retry(lambda: box.click(), self.page.get_by_role("option", name=option).first)
        self.page.get_by_role("option", name=option).first.click()
        idle(self.page)

    def fill(self, label: str, text: str, role: str = "textbox") -> None:
        box = self.page.get_by_role(role, name=label, exact=True)
        expect(box).to_have_count(1)  # the one before may still be there
        box.fill(text)
        box.press("Enter")
        idle(self.page)
