"""Pages that bring themselves up to date: the stream of changes, its bounds, and the page in a browser."""

import asyncio
import contextlib
import re
import threading

import httpx
import pytest
from playwright.sync_api import expect
from web_server import NOW, TOKEN
from web_server.big_family import fill_big
from web_server.household import fill

from hedgerow.dashboards.pages.live import MAX_STREAMS_PER_SESSION, ChangeFeed, LivePages
from hedgerow.dashboards.scopes import Role
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.model import AccessRequest, DeviceId

PASSWORD = "four words and more"
MIA = DeviceId("mia-tablet")


def test_nothing_is_looked_at_while_nobody_listens():
    looks, state = [], {"requests": 0, "pauses": 0}

    async def look():
        looks.append(1)
        return dict(state)

    async def run():
        feed = ChangeFeed(look, interval=0)
        await asyncio.sleep(0)
        assert not looks
        first, second = feed.changes(), feed.changes()
        assert await anext(first) == await anext(second) == frozenset()
        state["requests"] = 1
        while not (names := await anext(first)):
            pass
        assert names == {"requests"}
        while not (names := await anext(second)):
            pass
        assert names == {"requests"}, "each listener is told"
        await first.aclose()
        assert feed.is_watching
        await second.aclose()
        assert not feed.is_watching
        before = len(looks)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(looks) == before

    asyncio.run(run())


def test_a_listener_that_is_slow_gets_all_changes_at_once():
    state = {"requests": 0, "pauses": 0}

    async def look():
        return dict(state)

    async def run():
        feed = ChangeFeed(look, interval=0)
        async with contextlib.aclosing(feed.changes()) as changes:
            await anext(changes)
            for _ in range(3):
                state["requests"] += 1
                state["pauses"] += 1
                for _ in range(5):
                    await asyncio.sleep(0)
            assert await anext(changes) == {"requests", "pauses"}

    asyncio.run(run())


@contextlib.contextmanager
def signed_in(web):
    """Return a client with a session."""
    with httpx.Client(
        base_url=web.url, trust_env=False, timeout=60, headers={"origin": web.url}, verify=False
    ) as client:
        asyncio.run(web.accounts.create("Ana", Role.ADMIN, PASSWORD))
        client.post("/sign-in", data={"name": "Ana", "password": PASSWORD})
        assert client.cookies
        yield client


def test_the_stream_names_what_changed_and_ends_with_the_session(web):
    with signed_in(web) as browser, browser.stream("GET", "/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next(lines) == "event: listening"
        web.ledger.pause("Ana", person="mia")
        assert next(line for line in lines if line.startswith("data: ")) == "data: children everybody links new pauses"
        web.recorder.add([AccessRequest(NOW, MIA, "mia", "scratch.example")])
        web.recorder.flush()
        assert next(line for line in lines if line.startswith("data: ")) == "data: requests"
        threading.Thread(
            target=lambda: httpx.post(
                f"{web.url}/sign-out",
                cookies=browser.cookies,
                headers={"origin": web.url},
                verify=False,
                timeout=60,
            )
        ).start()
        assert "event: signed-out" in (line for line in lines)
        assert [line for line in lines if line not in ("", "data:")] == [], "the server ends the stream"


def test_the_streams_of_a_session_are_bounded(web):
    with signed_in(web) as browser, contextlib.ExitStack() as streams:
        kept = [
            streams.enter_context(browser.stream("GET", "/events")).iter_lines() for _ in range(MAX_STREAMS_PER_SESSION)
        ]
        assert [next(lines) for lines in kept] == ["event: listening"] * MAX_STREAMS_PER_SESSION
        assert browser.get("/events").status_code == 503
        assert browser.get("/").status_code == 200
        assert (
            httpx.get(
                f"{web.url}/events", trust_env=False, follow_redirects=False, verify=False, timeout=60
            ).status_code
            == 303
        ), "nobody else may listen"


def test_a_part_is_what_the_page_has(web):
    def words(text):
        return re.sub(r"\s+", " ", text).strip()

    fill(web)
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60, verify=False) as browser:
        parts = {
            "/": ("troubles", "children", "requests", "new", "links"),
            "/day": ("pauses", "grants", "day", "devices", "blocked"),
        }
        for path, part in ((path, part) for path, names in parts.items() for part in names):
            page, fragment = browser.get(path).text, browser.get(f"/today/{part}").text
            assert len(words(fragment)) > 100, part
            assert words(fragment) in words(page), part


@pytest.fixture
def page(chromium):
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    yield page
    page.close()


@pytest.mark.browser
def test_a_request_appears_without_a_reload_and_disturbs_nothing(web, page):
    fill(web)
    web.recorder.add([DeviceSeen(NOW, MIA, "192.168.1.31", None, "mia", "child-8-12")])
    web.recorder.flush()
    with page.expect_response("**/events"):
        page.goto(web.url)
    page.evaluate("window.notReloaded = true")
    page.locator("#child-1-day summary").click()
    page.get_by_role("button", name="Pause tom").focus()
    web.recorder.add([AccessRequest(NOW, MIA, "mia", "new.example")])
    web.recorder.flush()
    expect(page.get_by_role("button", name="Deny new.example")).to_be_visible()
    expect(page).to_have_title(re.compile(r"^\(3\) "))
    expect(page.get_by_text("3 requests are waiting")).to_have_count(1)
    expect(page.locator("#child-1-day")).to_have_attribute("open", "")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Pause tom"
    web.ledger.pause("Ana", person="tom", ends=NOW + 600)
    expect(page.get_by_text("Paused until 21:37", exact=True)).to_be_visible()
    assert page.evaluate("window.notReloaded")


@pytest.mark.browser
@pytest.mark.parametrize("reader", ["en", "de", "fr", "es", "pt"])
def test_the_controls_of_five_children_are_on_a_phones_first_screen(web, page, reader):
    """With sixty devices at home, and a request. Texts of the buttons are whole, and a thumb needs 44 pixels."""
    fill_big(web)
    adding = threading.Thread(target=lambda: asyncio.run(web.accounts.create("Ana", Role.ADMIN, PASSWORD)))
    adding.start()
    adding.join()
    page.set_extra_http_headers({"accept-language": reader, "authorization": f"Bearer {TOKEN}"})
    page.goto(web.url)
    bar = page.evaluate("document.querySelector('.top nav').getBoundingClientRect().top")
    boxes = page.evaluate(
        "[...document.querySelectorAll('.child .tile')].map(each => each.getBoundingClientRect().toJSON())"
    )
    assert len(boxes) == 17, "one child does homework"
    assert max(box["bottom"] for box in boxes) <= bar
    assert min(min(box["height"], box["width"]) for box in boxes) >= 44
    unfolding = page.locator(".child > .more > summary").first
    assert min(unfolding.bounding_box()[side] for side in ("height", "width")) >= 44
    unfolding.click()
    expect(page.locator("#child-1-day .slices")).to_be_visible()
    page.set_viewport_size({"width": 320, "height": 640})
    cut = (
        "[...document.querySelectorAll('.tile')].filter(each => each.scrollWidth > each.clientWidth).map(each =>"
        " each.textContent)"
    )
    assert page.evaluate(cut) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.browser
def test_long_lists_are_searched(web, page):
    fill(web)
    page.goto(f"{web.url}/day")
    search = page.get_by_role("searchbox", name="Search devices")
    search.fill("tom")
    expect(page.locator("#devices-rows li:visible")).to_have_count(1)
    search.fill("")
    expect(page.locator("#devices-rows li:visible")).to_have_count(3)


@pytest.mark.browser
def test_the_counter_shows_a_session_that_somebody_else_ends(web, page, monkeypatch):
    """Also one that ends after the page was made, and before the server looks for the first time."""
    may_look, read = threading.Event(), LivePages._read
    monkeypatch.setattr(LivePages, "_read", lambda *words: may_look.wait(60) and read(*words))
    fill(web)
    with page.expect_response("**/events"):
        page.goto(f"{web.url}/counter")
    tile = page.locator("[data-seat=seat-1]")
    expect(tile).to_contain_text("Child")
    page.evaluate("window.notReloaded = true")
    # the page's stream is open too
    page.evaluate("new Promise(opened => { new EventSource('/events').onopen = () => opened(); })")
    # and so is fetched what it may have asked for by now
    page.evaluate("fetch('/counter/seats').then(answer => answer.text())")
    session = web.time.seated.pop("seat-1")
    may_look.set()
    expect(tile).to_contain_text("free")
    web.time.seated["seat-1"] = session
    expect(tile).to_contain_text("Child")
    assert page.evaluate("window.notReloaded")
