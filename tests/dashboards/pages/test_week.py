"""The grid of a week, with a finger on a phone."""

import re

import pytest
from playwright.sync_api import expect

from hedgerow.policies.reading.load import load_policy

NIGHTS = "form[action$='/nights']"
HOUSE = """\
people:
  mia:
    age: 9
    schedules: {homework: {block: games, when: {tue: "15:00-17:00"}}}
"""

pytestmark = pytest.mark.browser


class Finger:
    """A finger on the screen, by the same path as a real one: the browser decides what scrolls."""

    def __init__(self, page):
        self._page, self._session = page, page.context.new_cdp_session(page)

    def _send(self, kind, *points):
        at = [{"x": x, "y": y} for x, y in points]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    def tap(self, point):
        self._send("touchStart", point)
        self._send("touchEnd")

    def drag(self, start, end, steps=8):
        self._send("touchStart", start)
        for step in range(1, steps + 1):
            self._send("touchMove", tuple(a + (b - a) * step / steps for a, b in zip(start, end, strict=True)))
        self._send("touchEnd")


@pytest.fixture
def phone(chromium, web):
    web.policy_path.write_text(HOUSE)
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(f"{web.url}/people/mia/nights")
    yield page
    context.close()


def place(form, day, part):
    """Return the screen position of a fraction (0 to 1) of a day's row."""
    box = form.get_by_role("group", name=day, exact=True).first.bounding_box()
    return box["x"] + box["width"] * part, box["y"] + box["height"] / 2


def middle(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def times(form, day):
    """Return begin and end of a day's times as assistive technology reads them."""
    return [
        handle.get_attribute("aria-valuetext")
        for handle in form.get_by_role("slider", name=re.compile(f"^{day}, ")).all()
    ]


STILL = """() => new Promise(done => {
  let last = scrollY, frames = 0;
  const look = () => { frames = scrollY === last ? frames + 1 : 0; last = scrollY; frames > 9 ? done(last) : requestAnimationFrame(look); };
  look();
})"""  # noqa: E501


def scrolled(page):
    """Return the position of the page when it no longer scrolls."""
    return page.evaluate(STILL)


def save(page, web, form, button):
    form.get_by_role("button", name=button).tap()
    page.get_by_role("status").wait_for()
    return load_policy(web.policy_path).people["mia"].rules


def test_a_finger_adds_moves_resizes_and_removes_a_time(phone, web):
    phone.goto(f"{web.url}/people/mia/schedules")
    finger, form = Finger(phone), phone.locator("form[action$='/schedule']").first
    form.get_by_role("group", name="Wednesday").scroll_into_view_if_needed()
    finger.tap(place(form, "Wednesday", 10 / 24))
    expect(form.locator(".chosen")).to_have_count(1)
    assert times(form, "Wednesday") == ["10:00", "11:00"]
    # The ends of the chosen time are large enough for a finger.
    end = form.locator(".chosen .end")
    assert min(end.bounding_box()["width"], end.bounding_box()["height"]) >= 44
    x, y = middle(end)
    width = form.get_by_role("group", name="Wednesday").first.bounding_box()["width"]
    finger.drag((x, y), (x + width * 3 / 24, y))
    assert times(form, "Wednesday") == ["10:00", "14:00"]
    finger.drag(place(form, "Wednesday", 12 / 24), place(form, "Wednesday", 16 / 24))
    assert times(form, "Wednesday") == ["14:00", "18:00"]
    form.get_by_label("Wednesday, closed until").and_(form.locator("[type=time]")).fill("18:20")
    assert times(form, "Wednesday") == ["14:00", "18:20"]
    # Another time is chosen by a tap, and removed.
    finger.tap(place(form, "Tuesday", 16 / 24))
    expect(form.locator(".chosen")).to_have_count(1)
    form.locator(".timetools").get_by_role("button", name="Remove").tap()
    assert times(form, "Tuesday") == []
    rules = save(phone, web, form, "Save the times")
    (span,) = rules.schedules[0].when.spans
    assert (span.weekday, span.start, span.end) == (2, 14 * 60, 18 * 60 + 20)


def test_a_finger_that_scrolls_draws_nothing(phone, web):
    finger, form = Finger(phone), phone.locator(NIGHTS)
    form.get_by_role("group", name="Thursday").scroll_into_view_if_needed()
    for part, sideways in ((0.2, 0), (0.5, 30), (0.9, -20)):
        before, (x, y) = scrolled(phone), place(form, "Thursday", part)
        finger.drag((x, y), (x + sideways, y - 180))
        assert scrolled(phone) > before + 60
        form.get_by_role("group", name="Thursday").first.evaluate("row => row.scrollIntoView({block: 'center'})")
    scrolled(phone)
    x, y = place(form, "Friday", 0.3)
    finger.drag((x, y), (x + 120, y))  # sideways, where nothing is chosen
    assert all(times(form, day) == [] for day in ("Thursday", "Friday", "Saturday"))
    assert form.locator(".chosen").count() == 0
    # What is chosen moves; beside it the page still scrolls.
    finger.tap(place(form, "Thursday", 0.4))
    assert times(form, "Thursday") == ["21:00", "07:00"]
    before, (x, y) = scrolled(phone), place(form, "Thursday", 0.1)
    finger.drag((x, y), (x, y - 150))
    assert scrolled(phone) > before + 60
    assert times(form, "Thursday") == ["21:00", "07:00"]
    form.get_by_role("group", name="Thursday").first.evaluate("row => row.scrollIntoView({block: 'center'})")
    scrolled(phone)
    finger.drag(place(form, "Thursday", 0.5), place(form, "Thursday", 0.5 + 1 / 24))
    assert times(form, "Thursday") == ["22:00", "08:00"]
    rules = save(phone, web, form, "Save the nights")
    (span,) = rules.bedtime.spans
    assert (span.weekday, span.start, span.end) == (3, 22 * 60, 32 * 60)


def test_a_chosen_time_fits_the_screen_and_its_tools_are_large(phone):
    finger, form = Finger(phone), phone.locator(NIGHTS)
    form.get_by_role("group", name="Monday").first.scroll_into_view_if_needed()
    finger.tap(place(form, "Monday", 0.5))
    for text in ("12:00", "23:45"):
        form.locator(".timetools input").first.fill(text)
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    for tool in form.locator(".timetools input, .timetools button").all():
        assert tool.bounding_box()["height"] >= 44
