"""Measure how soon *Today* can be used on a slow phone, and the size of the pages that grow with what a home has.

    .venv/bin/python bench/interactive.py [--loads 15] [--pages]

Chromium loads the page of a family of four, 390 px wide, with its processor slowed down four times: with an empty cache
each time, and again with what it kept. A page is interactive once it is painted, its scripts have run, and no task of
more than 50 ms follows within a second. `--pages` prints octets and elements of pages of a large household and a café.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from playwright.sync_api import Browser, sync_playwright
from web_server import Web, running_web
from web_server.big_family import fill_big
from web_server.household import POLICY, fill

from hedgerow.dashboards.scopes import Role

AIM_MS = 800.0
SLOWDOWN = 4
WIDTH, HEIGHT = 390, 844
PAGES = ("/", "/day", "/people", "/people/Mia", "/devices", "/log", "/log/raw", "/lists", "/settings")
CAFE_PAGES = ("/", "/counter", "/devices", "/settings")
CAFE_SEATS = 60
_PASSWORD = "four words and more"
_WATCH = """() => {
  window.ended = 0;
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.ended = Math.max(window.ended, task.startTime + task.duration);
  }).observe({ type: "longtask", buffered: true });
}"""
_TIMES = """async () => {
  const quiet = (resolve) => {
    const last = Math.max(window.ended, performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd);
    if (performance.now() - last > 1000) resolve(); else setTimeout(quiet, 200, resolve);
  };
  await new Promise(quiet);
  const [page] = performance.getEntriesByType("navigation");
  const painted = performance.getEntriesByName("first-contentful-paint")[0].startTime;
  const records = [page, ...performance.getEntriesByType("resource")];
  return {
    answered: page.responseStart, painted, ready: page.domContentLoadedEventEnd,
    interactive: Math.max(painted, page.domContentLoadedEventEnd, window.ended),
    requests: records.filter((each) => each.startTime < page.domContentLoadedEventEnd).length,
    transferred: records.reduce((sum, each) => sum + each.transferSize, 0),
  };
}"""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", type=int, default=15)
    parser.add_argument("--pages", action="store_true", help="octets and elements of large pages instead")
    options = parser.parse_args()
    if options.pages:
        for seats, paths in ((0, PAGES), (CAFE_SEATS, CAFE_PAGES)):
            with serving(seats) as (web, browser):
                print(f"{f'café with {seats} seats' if seats else 'large household':24} octets  transferred elements")
                for path in paths:
                    print(weight_of(web, browser, path))
        return
    with serving(None) as (web, browser):
        cold, warm = zip(*(load_twice(web, browser) for _ in range(options.loads)), strict=True)
    print(f"load average {os.getloadavg()[0]:.1f}, processor slowed down {SLOWDOWN} times, medians of {options.loads}")
    for name, loads in (("empty cache", cold), ("kept", warm)):
        middle = {key: statistics.median(load[key] for load in loads) for key in loads[0]}
        times = ", ".join(f"{key} {middle[key]:.0f} ms" for key in ("answered", "painted", "ready", "interactive"))
        print(f"{name:12} {times}, {middle['requests']:.0f} requests, {middle['transferred'] / 1000:.0f} kB")


@contextlib.contextmanager
def serving(seats: int | None) -> Iterator[tuple[Web, Browser]]:
    """Serve a family of four, or a large household (with seats), and open Chromium."""
    with tempfile.TemporaryDirectory() as state, running_web(Path(state), has_password=False) as web:
        if seats is None:
            fill(web)
            web.policy_path.write_text(family_of_four())
        else:
            fill_big(web, seats)
        asyncio.run(web.accounts.create("parent", Role.ADMIN, _PASSWORD))
        with sync_playwright() as playwright:
            executable = shutil.which("chromium")
            yield web, playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])


def family_of_four() -> str:
    """Return the policy of a household without seats, and with a second parent."""
    home = re.sub(r"seats:\n(  .*\n)+", "", POLICY)
    return home.replace("  Ana:", "  Ben: {profile: adult}\n  Ana:")


def signed_in(web: Web, browser: Browser) -> Any:
    """Return a page of a new profile in which the parent is signed in, with nothing in its cache."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB")
    form = {"name": "parent", "password": _PASSWORD}
    context.request.post(f"{web.url}/sign-in", form=form, headers={"origin": web.url})
    return context.new_page()


def load_twice(web: Web, browser: Browser) -> tuple[dict[str, float], dict[str, float]]:
    """Return the times of a load with an empty cache, and of the next one."""
    page = signed_in(web, browser)
    page.add_init_script(f"({_WATCH})()")
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": SLOWDOWN})
    found = []
    for _ in range(2):
        page.goto(web.url + "/")
        found.append(page.evaluate(_TIMES))
    page.context.close()
    return found[0], found[1]


def weight_of(web: Web, browser: Browser, path: str) -> str:
    """Return a line with the octets of a page, those transferred with all that it needs at first, and its elements."""
    page = signed_in(web, browser)
    answer = page.goto(web.url + path)
    page.wait_for_load_state()
    octets = len(answer.body())
    transferred = page.evaluate(
        "() => [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        ".reduce((sum, each) => sum + each.transferSize, 0)"
    )
    elements = page.evaluate("() => document.querySelectorAll('*').length")
    page.context.close()
    return f"{path:24} {octets:6} {transferred:12} {elements:8}"


if __name__ == "__main__":
    main()
