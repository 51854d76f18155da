"""A parent's hand on a page of 390 pixels: it touches and types, and counts both."""

from __future__ import annotations

import re
from dataclasses import dataclass

from playwright.sync_api import Locator, Page, expect

PATIENCE_MS = 60_000


@dataclass
class Hand:
    """The hand on a `page`, which begins on *Today*.

    A tap is a touch; choosing in a list is two taps, and picking a date three. Keys are characters typed.
    """

    page: Page
    taps: int = 0
    keys: int = 0

    def tap(self, what: Locator) -> None:
        self.taps += 1
        what.tap()

    def choose(self, what: Locator, label: str) -> None:
        self.taps += 2
        what.select_option(label=label)

    def enter(self, what: Locator, text: str) -> None:
        self.taps += 1
        self.keys += len(text)
        what.fill(text)

    def type(self, what: Locator, text: str) -> None:
        """Type into a field, which is tapped unless it has the focus already."""
        if not what.evaluate("each => each === document.activeElement"):
            self.tap(what)
        self.keys += len(text)
        self.page.keyboard.type(text)

    def pick_date(self, what: Locator, date: str) -> None:
        self.taps += 3
        what.fill(date)

    def go(self, *names: str) -> None:
        """Follow links by their names, first in the navigation."""
        for name in names:
            bar = self.page.get_by_role("navigation", name="Pages").get_by_role("link", name=name)
            self.tap(bar if bar.count() else self.page.get_by_role("link", name=name, exact=True).first)

    def button(self, name: str | re.Pattern[str]) -> None:
        self.tap(self.page.get_by_role("button", name=name).first)

    def unfold(self, name: str) -> None:
        self.tap(self.page.locator("summary", has_text=name).first)

    def open(self, tile: str) -> None:
        """Open a tile of a person's page."""
        self.tap(self.page.get_by_role("navigation", name="Rules of ").get_by_role("link", name=re.compile(f"^{tile}")))

    def said(self, *texts: str) -> None:
        """Wait until the page says something."""
        for text in texts:
            expect(self.page.locator("body")).to_contain_text(text, timeout=PATIENCE_MS)

    def await_on_page(self, what: Locator, path: str) -> None:
        """Load a page until something is there that a device has just done, as a parent does who comes a bit later."""
        for _ in range(60):
            self.page.goto(path)
            if what.count():
                return
            self.page.wait_for_timeout(250)
        expect(what).not_to_have_count(0)
