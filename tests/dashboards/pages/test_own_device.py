"""A device's own page: codes that are confirmed or kept as typed, and answers that appear by themselves."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect
from small_internet.browser import look_through
from web_server import NOW, Web

from hedgerow.dashboards.control import DeviceView
from hedgerow.policies.model import AccessRequest, Decision, DeviceId, Observation, Reason, RequestKind, Verdict

CHILD = "127.0.0.2"
TABLET = DeviceId("mia-tablet")


@pytest.fixture
def child(web: Web) -> Iterator[httpx.Client]:
    web.control.devices[CHILD] = DeviceView(TABLET, "mia", "child-8-12", is_seat=True)
    transport = httpx.HTTPTransport(local_address=CHILD, verify=False)
    headers = {"origin": web.url, "accept-language": "en"}
    with httpx.Client(base_url=web.url, transport=transport, trust_env=False, timeout=60, headers=headers) as client:
        yield client


def test_a_wrong_code_is_kept_with_its_problem_beside_it(child: httpx.Client) -> None:
    answer = child.post("/device/voucher", data={"code": "ABCD <efgh>"})
    assert answer.status_code == 422
    assert "mia-tablet knows no voucher" in answer.text
    field = re.search(r'<input name="code"[^>]*value="ABCD &lt;efgh&gt;"[^>]*>', answer.text)
    assert field is not None, "what was typed is kept"
    assert 'aria-invalid="true" aria-describedby="mistake"' in field[0]
    assert "Ask for a site" in answer.text, "it is the whole page, not an error alone"
    assert child.post("/device/voucher", data={"code": "x" * 250}).status_code == 422
    assert child.post("/device/voucher").status_code == 422


def test_a_used_code_is_confirmed(child: httpx.Client) -> None:
    assert "The code worked. Your time has begun." in child.get("/device?used=voucher").text
    assert "The code worked." not in child.get("/device").text


@pytest.mark.parametrize("site", ["co.uk", "https://github.io/", "COM.AU", "s3.amazonaws.com", "in-addr.arpa", "com"])
def test_nobody_can_ask_for_all_sites_beneath_a_public_suffix(web: Web, child: httpx.Client, site: str) -> None:
    web.control.explained = Decision(Verdict.BLOCK, Reason.PAUSE, "pause")
    assert child.post("/device/ask", data={"site": site}).status_code == 422


def test_the_next_page_shows_what_was_just_asked(web: Web, child: httpx.Client) -> None:
    """The journal is written later than a request comes.

    Without waiting for it, the button would seem to do nothing.
    """
    is_over = threading.Event()

    def write() -> None:
        while not is_over.wait(0.2):
            web.recorder.flush()

    writer = threading.Thread(target=write)
    writer.start()
    web.control.explained = Decision(Verdict.BLOCK, Reason.CATEGORY, "games")
    asked = child.post("/device/ask", data={"site": "play.example"}, follow_redirects=True).text
    is_over.set()
    writer.join()
    assert "waiting for an answer" in asked


def test_the_state_changes_with_an_answer_and_not_by_itself(web: Web, child: httpx.Client) -> None:
    def state() -> Any:
        return child.get("/device/state").json()["state"]

    before = state()
    assert state() == before
    id = web.ledger.file(AccessRequest(NOW, TABLET, "mia", "news.example"))
    assert id is not None
    asked = state()
    web.ledger.deny(id, "ana")
    assert len({before, asked, state()}) == 3


def test_a_blocked_site_is_shown_once_with_how_often(web: Web, child: httpx.Client) -> None:
    web.recorder.add(
        Observation(
            NOW - number * 600,
            TABLET,
            "mia",
            "child-8-12",
            RequestKind.DNS,
            Verdict.BLOCK,
            Reason.CATEGORY,
            "social",
            host,
        )
        for number in range(30)
        for host in ("www.tiktok.com", f"{number}.example")
    )
    web.recorder.flush()
    page = child.get("/device").text
    table = page[page.index('<h2 id="blocks-title"') :]
    assert table.count("www.tiktok.com") == 1
    assert '<td class="number"><span class="times" aria-hidden="true">×</span>30</td>' in table
    assert len(re.findall(r"\d+\.example", table)) == 11, "as many rows as are read with patience"


@pytest.mark.browser
def test_a_denial_appears_by_itself_and_leaves_what_is_being_typed(chromium: Browser, web: Web) -> None:
    web.control.devices["127.0.0.1"] = DeviceView(TABLET, "mia", "child-8-12")
    id = web.ledger.file(AccessRequest(NOW, TABLET, "mia", "news.example"))
    assert id is not None
    page = chromium.new_page(locale="en", viewport={"width": 390, "height": 844})
    page.goto(f"{web.url}/device")
    asked = page.locator('[data-fresh="asked"]')
    expect(asked).to_contain_text("waiting for an answer")
    page.get_by_label("Which site or app?").fill("scratch.mit.edu")
    web.ledger.deny(id, "ana")
    expect(asked.locator(".tag.block")).to_have_text("no", timeout=20_000)
    assert page.get_by_label("Which site or app?").input_value() == "scratch.mit.edu"
    assert look_through(page).response["violations"] == []
    page.close()
