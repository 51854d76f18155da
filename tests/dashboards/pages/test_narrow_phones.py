"""Names of days and times on the narrowest phone, in every language: nothing breaks in two and nothing is cut off."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser
from web_server import Web
from web_server.household import fill

from hedgerow.policies.text.locales import LANGUAGES

# Names of days and instants on more than one line, and times that are wider than the span in which they stand.
BROKEN = """() => {
  const broken = [];
  for (const each of document.querySelectorAll('table.week tbody th, .weekrow .label, time, .track .times')) {
    if (!each.offsetParent) continue;
    const range = document.createRange();
    range.selectNodeContents(each);
    const text = range.getBoundingClientRect(), around = each.parentElement.getBoundingClientRect();
    const lines = new Set([...range.getClientRects()].map(box => Math.round(box.top))).size;
    if (lines > 1 || text.left < around.left - 1 || text.right > around.right + 1) broken.push(each.textContent.trim());
  }
  return broken;
}"""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.mark.parametrize("has_scripts", [True, False])
def test_days_and_times_are_whole(chromium: Browser, web: Web, has_scripts: bool) -> None:
    fill(web)
    context = chromium.new_context(viewport={"width": 320, "height": 800}, java_script_enabled=has_scripts)
    page = context.new_page()
    for code in LANGUAGES:
        page.set_extra_http_headers({"accept-language": code})
        for path in (
            "/people/mia",
            "/people/mia/nights",
            "/log",
            "/log/raw",
            "/changes",
            "/why?row=1",
        ):
            page.goto(web.url + path)
            assert page.evaluate("document.documentElement.lang") == code
            assert page.evaluate(BROKEN) == [], (code, path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, (code, path)
    context.close()


def test_the_answers_of_a_change_are_in_one_row(chromium: Browser, web: Web) -> None:
    """Beneath what was done: only for an hour, only today, undo."""
    fill(web)
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    for code in LANGUAGES:
        page.set_extra_http_headers({"accept-language": code})
        page.goto(f"{web.url}/people/mia/services?find=roblox")
        page.get_by_role("switch", name="Roblox").tap()
        page.wait_for_url("**saved=*")
        page.locator(".toast .said").wait_for()
        shown = page.locator(".said button:not([data-close])").all()
        buttons = [box for each in shown if (box := each.bounding_box())]
        assert len(buttons) == 3, code
        assert len({round(each["y"]) for each in buttons}) == 1, code
        assert all(each["x"] >= 0 and each["x"] + each["width"] <= 390 for each in buttons), code
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, code
    context.close()


CUT_OFF = """() => {
  const lines = each => new Set([...each.querySelectorAll('span')].filter(part => !part.closest('.hidden')).flatMap(part => {
    const range = document.createRange();
    range.selectNodeContents(part);
    return [...range.getClientRects()].map(box => Math.round(box.top));
  })).size;
  const isBroken = each => {
    each.style.overflowWrap = 'normal';
    return [...each.children].some(part => part.scrollWidth > each.clientWidth + 1);
  };
  const isOver = each => each.getClientRects().length && each.scrollWidth > each.clientWidth + 1;
  return [...document.querySelectorAll('button.tile')].filter(each => each.offsetParent && (lines(each) > 2 || isBroken(each)))
    .concat([...document.querySelectorAll('.facts a, .facts b, .children > *')].filter(isOver)).map(each => each.textContent.trim());
}"""  # noqa: E501


@pytest.mark.parametrize("path", ["/", "/people/mia"])
def test_buttons_of_today_have_two_lines_of_whole_words_and_tiles_nothing_cut_off(
    chromium: Browser, web: Web, path: str
) -> None:
    fill(web)
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    found = {}
    for code in LANGUAGES:
        page.set_extra_http_headers({"accept-language": code})
        page.goto(web.url + path)
        found[code] = page.evaluate(CUT_OFF)
    context.close()
    assert {code: texts for code, texts in found.items() if texts} == {}
