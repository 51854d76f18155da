"""The child's own page and the guide in Arabic, from right to left, in a real Chromium."""

import pytest
from small_internet.browser import look_through
from web_server.household import fill

# Texts begin at the right; boxes that stick out at either side are found by their edges, since the page itself may hide
# them.
STICKS_OUT = """() => [...document.querySelectorAll('main *')].filter(each => {
  const box = each.getBoundingClientRect();
  return each.offsetParent && box.width && (box.left < -1 || box.right > innerWidth + 1) && !each.closest('[hidden], .hidden, .skip');
}).map(each => each.outerHTML.slice(0, 100))"""  # noqa: E501

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_in_arabic_run_from_right_to_left(chromium, web, theme):
    fill(web)
    context = chromium.new_context(viewport={"width": 320, "height": 800}, color_scheme=theme, locale="ar")
    page = context.new_page()
    for path in ("/device", "/start", "/start/place"):
        page.goto(web.url + path)
        assert page.locator("html").get_attribute("dir") == "rtl"
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        assert page.evaluate(STICKS_OUT) == [], path
        heading = page.locator("main h1").first.evaluate("element => getComputedStyle(element).direction")
        assert heading == "rtl"
        narrow = (
            "[...document.querySelectorAll('.care li')].filter(each => each.getBoundingClientRect().width < 200).length"
        )
        assert page.evaluate(narrow) == 0, path
        found = look_through(page)
        assert found.violations_count == 0, (path, found.generate_report())
    page.goto(f"{web.url}/device")
    number = page.get_by_role("link", name="116 111").first
    assert number.locator("bdi").evaluate("element => getComputedStyle(element).direction") == "ltr"
    context.close()
