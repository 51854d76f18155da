"""Hedgerow goes away while its pages are open: they say so, offer nothing that leads nowhere, and come back by
themselves.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from small_internet.browser import wait_for_script
from web_server import NOW, Web
from web_server.household import fill

pytestmark = pytest.mark.browser
PHONE = {"width": 390, "height": 844}
WITHIN_MS = 20_000
"""The time for a page to notice on a busy machine. It takes three to five seconds of a quiet one."""


class Line:
    """A network between a phone and the pages: it can be cut, or lose everything without a word."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._flows = threading.Event()
        self._flows.set()
        self._sockets: list[socket.socket] = []
        self.port = 0
        self.mend()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def lose(self) -> None:
        self._flows.clear()

    def find(self) -> None:
        self._flows.set()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def line(web: Web) -> Iterator[Line]:
    fill(web)
    line = Line(web.port)
    yield line
    line.find()
    line.cut()


@pytest.fixture
def phone(chromium: Browser, line: Line) -> Iterator[Page]:
    context = chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True, locale="en")  # type: ignore[arg-type]
    page = context.new_page()
    with page.expect_response("**/events"):
        page.goto(line.url)
    yield page
    context.close()


def is_away(page: Page) -> None:
    banner = page.locator("#offline")
    expect(banner).to_be_visible(timeout=WITHIN_MS)
    expect(banner).to_contain_text(re.compile(r"Hedgerow does not answer\. Last known at \d\d:\d\d\."))
    assert page.locator("main form button:enabled").count() == 0


@pytest.mark.parametrize("path", ["/", "/day"])
@pytest.mark.parametrize("is_silent", [False, True])
def test_an_open_page_says_that_nothing_answers_and_comes_back(
    phone: Page, line: Line, web: Web, path: str, is_silent: bool
) -> None:
    if path != "/":
        with phone.expect_response("**/events"):
            phone.goto(line.url + path)
    phone.evaluate("window.notReloaded = true")
    expect(phone.locator("#offline")).to_be_hidden()
    (line.lose if is_silent else line.cut)()
    is_away(phone)
    web.ledger.pause("Ana", person="tom", ends=NOW + 600)
    phone.get_by_role("button", name="Try again").click()
    is_away(phone)
    (line.find if is_silent else line.mend)()
    expect(phone.locator("#offline")).to_be_hidden(timeout=20_000)
    expect(phone.locator("main")).to_contain_text("until 21:37", timeout=20_000)
    assert phone.locator("main form button:disabled").count() == 0
    assert phone.evaluate("window.notReloaded")


def test_the_installed_app_never_shows_the_browsers_own_error(phone: Page, line: Line) -> None:
    phone.evaluate("navigator.serviceWorker.ready.then(() => 0)")
    phone.reload()  # from now on the service worker has the page
    wait_for_script(phone, "async () => Boolean(await (await caches.open('shell')).match('/out-of-reach'))")
    wait_for_script(phone, "async () => Boolean(await (await caches.open('today')).match('/'))")
    line.cut()
    phone.evaluate("document.querySelector('.everybody form').requestSubmit()")  # faster than the page notices
    expect(phone.get_by_role("heading", name="Hedgerow does not answer")).to_be_visible()
    expect(phone.locator("main")).to_contain_text("What you have just done may not have arrived.")
    assert phone.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(243, 245, 240)", "it has styles"
    for path in ("/people", "/people/mia", "/settings"):
        phone.goto(line.url + path)
        expect(phone.get_by_role("heading", name="Hedgerow does not answer")).to_be_visible()
    phone.goto(line.url)
    expect(phone.locator(".child").first).to_contain_text("mia")
    is_away(phone)
    line.mend()
    phone.goto(f"{line.url}/people")
    expect(phone.get_by_role("heading", name="People", exact=True)).to_be_visible()
