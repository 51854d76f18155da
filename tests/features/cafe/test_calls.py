"""A guest calls the staff from the seat's own page, and one tap at the counter answers the call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect
from small_internet.browser import FOR_PAGES, browser_for_pages
from web_server import NOW, TOKEN, Web, running_web

from hedgerow.dashboards.control import DeviceView, InvalidInput
from hedgerow.features.cafe.calls import CALL_KEPT_S, CALLS_WINDOW_S, MAX_CALLS, SeatCalls
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.policies.model import DeviceId

SEAT = "127.0.0.2"
ONE, TWO = DeviceId("seat-1"), DeviceId("seat-2")


def test_a_second_tap_is_the_same_call_and_only_so_many_are_taken() -> None:
    now = [NOW]
    calls = SeatCalls(lambda: now[0])
    for _ in range(MAX_CALLS):
        calls.call(ONE)
        calls.call(ONE)
        assert [each.seat for each in calls.open()] == [ONE]
        calls.answer(ONE)
    with pytest.raises(InvalidInput, match="several times"):
        calls.call(ONE)
    calls.call(TWO)
    assert [each.seat for each in calls.open()] == [TWO], "one seat keeps nobody else from calling"
    now[0] += CALLS_WINDOW_S
    calls.call(ONE)
    assert [each.seat for each in calls.open()] == [TWO, ONE]
    with pytest.raises(NoSuchEntry):
        calls.answer("seat-3")
    now[0] += CALL_KEPT_S
    assert calls.open() == (), "nothing of it is kept"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running_web(tmp_path) as running:
        yield running


@pytest.fixture
def seat(web: Web) -> Iterator[httpx.Client]:
    web.policy_path.write_text(f"seats: {{seat-1: {{ip: {SEAT}}}}}\n")
    web.control.devices[SEAT] = DeviceView(ONE, None, "seat-child", is_seat=True, is_captive=True)
    transport = httpx.HTTPTransport(local_address=SEAT, verify=False)
    with httpx.Client(
        base_url=web.url, transport=transport, trust_env=False, timeout=60, headers={"origin": web.url}
    ) as client:
        yield client


@pytest.fixture
def counter(web: Web) -> Iterator[httpx.Client]:
    headers = {"origin": web.url, "accept-language": "en"}
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60, verify=False, headers=headers) as client:
        yield client


def test_a_call_appears_at_the_counter_until_one_tap_answers_it(seat: httpx.Client, counter: httpx.Client) -> None:
    page = seat.get("/device").text
    assert "seat-1" in page
    assert "Call the staff" in page
    assert "data-left" not in page, "without a session there is no time"
    before = seat.get("/device/state").json()
    assert seat.get("/captive-portal").json()["called"] is False
    assert seat.post("/device/call").headers["location"] == "/device#seat"
    assert seat.post("/device/call").status_code == 303, "a second tap"
    assert seat.get("/device/state").json() != before
    assert "The staff has been called to you." in seat.get("/device").text
    assert {"seat": "seat-1", "called": True}.items() <= seat.get("/captive-portal").json().items()
    for path in ("/counter", "/counter/calls"):
        assert counter.get(path).text.count("seat-1 calls the staff.</b>") == 1
    listed = counter.get("/api/v1/counter/calls", headers={"authorization": f"Bearer {TOKEN}"})
    assert listed.json() == [{"seat": "seat-1", "at": NOW}]
    assert counter.post("/counter/answered", data={"seat": "seat-1"}).headers["location"].startswith("/counter?done=")
    assert "calls the staff" not in counter.get("/counter/calls").text
    assert counter.post("/counter/answered", data={"seat": "seat-1"}).status_code == 404
    assert "Call the staff" in seat.get("/device").text
    assert seat.get("/device/state").json() == before


def test_the_clock_of_a_session_stands_still_in_a_pause(web: Web, seat: httpx.Client) -> None:
    web.control.devices[SEAT] = DeviceView(ONE, None, "seat-child", is_seat=True, session="s", session_ends=NOW + 1770)
    assert '<b role="timer" aria-live="off" data-left="1770">29:30</b>' in seat.get("/device").text
    web.control.ledger.pause("Ana", device=ONE, ends=NOW + 600)
    page = seat.get("/device").text
    assert "Your time stands still." in page
    assert ">19:30</b>" in page
    assert "data-left" not in page


def test_only_a_seat_of_the_policy_calls(web: Web, seat: httpx.Client) -> None:
    web.control.devices[SEAT] = DeviceView(DeviceId("seat-9"), None, "seat-child", is_seat=True)
    assert seat.post("/device/call").status_code == 422
    assert "Call the staff" not in seat.get("/device").text


def test_the_clock_runs_and_a_call_appears_and_goes_by_itself(web: Web, seat: httpx.Client) -> None:
    """In Chromium: nobody loads a page again."""
    if not FOR_PAGES.exists():
        pytest.skip("needs Debian's chromium")
    view = DeviceView(ONE, None, "seat-child", is_seat=True, session="s", session_ends=NOW + 65)
    web.control.devices[SEAT] = web.control.devices["127.0.0.1"] = view
    with browser_for_pages() as browser:
        guest, counter = browser.new_page(locale="en"), browser.new_page(locale="en")
        counter.goto(f"{web.url}/counter")
        guest.goto(f"{web.url}/device")
        clock = guest.get_by_role("timer")
        first = clock.text_content()
        expect(clock).not_to_have_text(str(first))
        guest.get_by_role("button", name="Call the staff").click()
        expect(guest.get_by_text("The staff has been called to you.")).to_be_visible()
        counter.bring_to_front()
        answer = counter.get_by_role("button", name="seat-1: the call is answered")
        expect(answer).to_be_visible()
        expect(counter).to_have_title(re.compile(r"^\(1\) "))
        answer.click()
        expect(answer).to_have_count(0)
        guest.bring_to_front()
        expect(guest.get_by_role("button", name="Call the staff")).to_be_visible()
        web.control.devices[SEAT] = web.control.devices["127.0.0.1"] = DeviceView(
            ONE, None, "seat-child", is_seat=True, is_captive=True
        )
        expect(guest.get_by_text("Welcome!")).to_be_visible()
        expect(clock).to_have_count(0)
