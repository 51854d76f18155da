"""A child's phone and a parent's, side by side at 390 pixels, with a running Hedgerow between them."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page
from small_internet.browser import look_through
from small_internet.running import Hedgerow

from parent_jobs.hand import Hand

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTH = 390
DOCUMENT = Path(__file__).parents[3] / "docs" / "parent-jobs.md"
TOGETHER = (
    "Minutes asked for, and answered with less",
    "A bedtime moved",
    "A question about a rule, and a no with its reason",
    "A proposal accepted",
    "The rules agreed on",
    "The rules looked at again after a month",
)
"""Jobs that a child and a parent do together, in the order of the document."""


def _copy(source: socket.socket, to: socket.socket) -> None:
    """Pass on all octets and then the end, however it came: without it, a browser would wait for ever."""
    with closing(source), closing(to):
        with suppress(OSError):
            while octets := source.recv(65536):
                to.sendall(octets)
        with suppress(OSError):  # the other side has ended it already
            to.shutdown(socket.SHUT_WR)


@contextmanager
def seen_as(house: Hedgerow, address: str) -> Iterator[str]:
    """Pass connections on from a device's address, and yield the address of the pages there."""
    web = urlsplit(house.web)
    with socket.create_server((address, 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    here, _ = listener.accept()
                except OSError:
                    return
                try:
                    there = socket.create_connection((web.hostname, web.port), source_address=(address, 0))
                except OSError:  # control is about to start
                    here.close()
                    continue
                for pair in ((here, there), (there.dup(), here.dup())):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"{web.scheme}://{address}:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def phones(chromium: Browser, house: Hedgerow, address: str) -> Iterator[tuple[Hand, Hand]]:
    """Yield the hands of a child on its own page and of a parent on *Today*."""
    size = {"viewport": {"width": WIDTH, "height": 844}, "has_touch": True, "is_mobile": True, "locale": "en"}
    with seen_as(house, address) as place:
        child = chromium.new_context(**size, ignore_https_errors=True)  # type: ignore[arg-type]
        parent = chromium.new_context(**size, ignore_https_errors=True)  # type: ignore[arg-type]
        parent.add_cookies([{"name": name, "value": value, "url": house.web} for name, value in house.cookies.items()])
        pages: list[Page] = [child.new_page(), parent.new_page()]
        pages[0].goto(f"{place}/device")
        pages[1].goto(house.web)
        yield Hand(pages[0]), Hand(pages[1])
        child.close()
        parent.close()


def assert_taps_in_document(job: str, child: Hand, parent: Hand) -> None:
    """Check what a job of both takes with its row of the document. HEDGEROW_WRITE_DOCS=1 writes the row."""
    assert job in TOGETHER
    assert child.taps <= 3
    assert (parent.taps, child.keys, parent.keys) == (1, 0, 0)
    row, text = f"| {job} | {child.taps} | {parent.taps} |", DOCUMENT.read_text(encoding="utf-8")
    if os.environ.get("HEDGEROW_WRITE_DOCS"):
        DOCUMENT.write_text(re.sub(rf"^\| {re.escape(job)} \|.*$", row, text, flags=re.M), encoding="utf-8")
    else:
        assert row in text.splitlines()


def assert_accessible(page: Page) -> None:
    """Check a page with axe in both themes, and that nothing of it is wider than the phone."""
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        found = look_through(page)
        assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH
