"""Take pictures of all pages of an invented household: `python tools/screenshots.py FOLDER [--only NAME …]`.

A server runs on a loopback port with five children, sixty devices, requests and a pause, and once more with the seats
of a café. Each page is taken at the width of a phone and of a desktop, in the light and the dark theme, by Chromium.
`--documents` takes the pictures of `docs/images` instead: `python tools/screenshots.py docs/images --documents`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from web_server import Web, running_web
from web_server.big_family import fill_big

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.scopes import Role
from hedgerow.policies.host_facts import Lifelines
from hedgerow.policies.model import DeviceId

SIZES = {"phone": (390, 844), "desktop": (1440, 900)}
THEMES = ("light", "dark")
PAGES = {
    "today": "/",
    "people": "/people",
    "child": "/people/Mia",
    "child-time": "/people/Mia/time",
    "child-services": "/people/Mia/services",
    "teenager": "/people/Tom",
    "devices": "/devices",
    "log": "/log",
    "why": "/why?device=mia-tablet&target=www.tiktok.com",
    "lists": "/lists",
    "settings": "/settings",
    "notices": "/settings/notices",
    "changes": "/changes",
    "change": "/changes/1",
    "account": "/account",
    "more": "/more",
    "this-box": "/machine",
    "certificate": "/certificate",
    "check": "/check",
    "device": "/device",
    "guide-place": "/start/place",
    "guide-people": "/start/people",
    "guide-devices": "/start/devices",
    "guide-end": "/start/done",
    "for-children": "/start/children",
    "missing": "/nowhere",
}
CAFE_PAGES = {"cafe-today": "/", "cafe-counter": "/counter"}
_PASSWORD = "four words and more"  # noqa: S105  of a server that ends with this program
_CHANGE: dict[str, str | float | bool] = {"country": "US", "zone": "America/New_York", "unknown": "child-under-8"}
"""A form that changes the policy, for the pages about changes."""
SIGNED_OUT_PAGES = {"sign-in": "/sign-in"}


@dataclass(frozen=True)
class DocumentPicture:
    """A picture in the documents: a page, the size of the window, a button to press first, and the part to take or the
    whole page.
    """

    path: str
    width: int = 390
    height: int = 844
    button: str = ""
    part: str = ""
    full: bool = False
    is_signed_in: bool = True


DOCUMENT_PICTURES = {
    "today": DocumentPicture("/"),
    "week": DocumentPicture("/people/Mia/nights", part="section:has(> form[action$='/nights'])"),
    "own-page": DocumentPicture("/device", full=True, is_signed_in=False),
    "certificate": DocumentPicture("/certificate", full=True, is_signed_in=False),
    "notices": DocumentPicture("/settings/notices", height=1000),
}
CAFE_DOCUMENT_PICTURES = {
    "counter": DocumentPicture("/counter", height=900),
    "vouchers": DocumentPicture("/counter", 900, 700, button="Create a sheet to print"),
    "welcome": DocumentPicture("/device", height=560, is_signed_in=False),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", help="names of pages, such as today")
    parser.add_argument("--full", action="store_true", help="the whole page, not only the first screen")
    parser.add_argument("--language", default="en")
    parser.add_argument("--documents", action="store_true", help="the pictures of docs/images")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)

    def wanted[T](pages: dict[str, T]) -> dict[str, T]:
        return {name: page for name, page in pages.items() if not options.only or name in options.only}

    if options.documents:
        for seats, pictures in ((0, wanted(DOCUMENT_PICTURES)), (12, wanted(CAFE_DOCUMENT_PICTURES))):
            with _household(seats) as (browser, web):
                _take_for_documents(browser, web, pictures, options.folder)
        return
    for seats, pages, signed_out in ((0, wanted(PAGES), wanted(SIGNED_OUT_PAGES)), (12, wanted(CAFE_PAGES), {})):
        if pages or signed_out:
            with _household(seats) as (browser, web):
                _take_all(browser, web, pages, signed_out, options)


@contextlib.contextmanager
def _household(seats: int) -> Iterator[tuple[Browser, Web]]:
    """Serve the pages of an invented household, or of a café with seats, and open a browser."""
    with tempfile.TemporaryDirectory() as state, running_web(Path(state), has_password=False) as web:
        fill_big(web, seats)
        asyncio.run(web.accounts.create("parent", Role.ADMIN, _PASSWORD))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            yield browser, web
            browser.close()


def _take_for_documents(browser: Browser, web: Web, pictures: Mapping[str, DocumentPicture], folder: Path) -> None:
    if web.time.seated:
        web.control.devices["127.0.0.1"] = DeviceView(
            DeviceId("seat-9"), None, "seat-child", Lifelines.load().for_country("GB"), is_seat=True, is_captive=True
        )
    for name, picture in pictures.items():
        context = browser.new_context(
            viewport={"width": picture.width, "height": picture.height},
            device_scale_factor=1.5 if picture.full else 2,
            color_scheme="light",
            locale="en-GB",
        )
        page = context.new_page()
        if picture.is_signed_in:
            _sign_in(page, web)
        page.goto(web.url + picture.path)
        if picture.button:
            page.get_by_role("button", name=picture.button).click()
            page.wait_for_load_state()
        place = page.locator(picture.part) if picture.part else page
        path = folder / f"{name}.png"
        if isinstance(place, Page):
            place.screenshot(path=path, full_page=picture.full)
        else:
            place.screenshot(path=path)
        context.close()
        print(name)


def _take_all(
    browser: Browser, web: Web, pages: Mapping[str, str], signed_out: Mapping[str, str], options: argparse.Namespace
) -> None:
    for (size, (width, height)), theme in itertools.product(SIZES.items(), THEMES):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            locale=options.language,
        )
        page = context.new_page()
        for name, path in signed_out.items():
            _take(page, web.url + path, options, f"{name}-{size}-{theme}")
        _sign_in(page, web)
        page.request.post(f"{web.url}/settings/network", form=_CHANGE, headers={"origin": web.url})
        for name, path in pages.items():
            _take(page, web.url + path, options, f"{name}-{size}-{theme}")
        context.close()


def _sign_in(page: Page, web: Web) -> None:
    page.goto(f"{web.url}/sign-in")
    page.locator("[name=name]").fill("parent")
    page.locator("[name=password]").fill(_PASSWORD)
    page.locator("main button").last.click()
    page.wait_for_url(web.url + "/")


def _take(page: Page, url: str, options: argparse.Namespace, name: str) -> None:
    page.goto(url)
    page.screenshot(path=options.folder / f"{name}.png", full_page=options.full)
    print(name)


if __name__ == "__main__":
    main()
