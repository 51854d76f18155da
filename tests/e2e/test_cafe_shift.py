"""A shift with two people at two phones: double taps, vouchers, a member, a guest who has not paid, a power cut, and a
till in which something is missing. All sums agree to the cent.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from small_internet import SmallInternet
from small_internet.browser import browser_for_pages
from small_internet.clients import curl, kdig_addresses
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow, wait_until

PINS = {"Ana": "2580", "Ben": "4711"}
SEATS = [f"seat-{number}" for number in range(1, 9)]
ADDRESSES = {seat: f"127.0.0.{60 + number}" for number, seat in enumerate(SEATS)}
BLOCKED = "news.example"
PASSWORD = "eight seats and two phones"
POLICY = (
    "cafe: {name: Café Sol, currency: EUR, prices: {child: {30: 120, 60: 200}, adult: 300}}\n"
    f"block: [{BLOCKED}]\n"
    "seats: {" + ", ".join(f"{seat}: {{ip: {address}}}" for seat, address in ADDRESSES.items()) + "}\n"
)
CUT_S = 1200


@pytest.fixture
def cafe(internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(internet) + POLICY) as running:
        with script(running) as api:
            order = {"name": "counter", "role": "operator", "password": PASSWORD}
            api.post("/accounts", json={"name": "owner", "role": "admin", "password": PASSWORD}).raise_for_status()
            api.post("/accounts", json=order).raise_for_status()
            for name, pin in PINS.items():
                api.put(f"/staff/{name}", json={"role": "staff", "pin": pin}).raise_for_status()
        yield running


def script(cafe: Hedgerow) -> httpx.Client:
    token = (cafe.state / "admin-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{cafe.web}/api/v1", trust_env=False, timeout=60, headers=headers, verify=False)


def phone(chromium: Browser, cafe: Hedgerow, name: str) -> Page:
    """Sign in on a phone, and take over."""
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, ignore_https_errors=True
    )
    page = context.new_page()
    page.goto(f"{cafe.web}/sign-in")
    page.locator("[name=name]").fill("counter")
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[name=password]").press("Enter")
    page.wait_for_url(lambda url: "sign-in" not in url)
    page.goto(f"{cafe.web}/counter")
    page.locator(".duty [name=name]").select_option(name)
    page.locator(".duty [name=pin]").fill(PINS[name])
    page.get_by_role("button", name="Take over").tap()
    expect(page.get_by_text(f"On duty: {name}")).to_be_visible()
    return page


def open_seat(page: Page, seat: str, *, pays: str = "now", taps: int = 1) -> None:
    page.locator("fieldset label", has_text=re.compile(f"^{pays}$")).tap()
    button = page.locator(f"[data-seat={seat}]").get_by_role("button")
    (button.dblclick if taps == 2 else button.tap)()
    expect(page.locator(f"[data-seat={seat}] summary").first).to_contain_text("60")


def open_from_balance(page: Page, seat: str, number: int) -> None:
    """Open a seat from the balance of Vera, who has €5.00. Cost and balance are shown before the tap."""
    page.locator("fieldset label", has_text="from a balance").tap()
    page.locator("#opening [name=member]").select_option(f"{number}")
    expect(page.locator("#cost")).to_have_text("It costs €2.00 from the balance of Vera, which has €5.00.")
    page.locator(f"[data-seat={seat}]").get_by_role("button").tap()
    expect(page.locator("[data-done]")).to_contain_text(f"60 minutes at {seat}, €2.00: paid from the balance.")
    tile = page.locator(f"[data-seat={seat}]")
    tile.locator("summary").first.tap()
    expect(tile.locator("[name=pays]")).to_have_value("balance")
    expect(tile.get_by_role("button", name="15 minutes extra, €0.50")).to_be_visible()


def power_cut(cafe: Hedgerow) -> None:
    """Let control find that it last ran long ago, when the sessions had just begun."""
    (pid,) = cafe.pids("control")
    with closing(sqlite3.connect(cafe.state / "journal.sqlite", timeout=30)) as journal, journal:
        os.kill(pid, signal.SIGKILL)
        assert journal.execute("UPDATE writers SET at = at - ? WHERE writer LIKE '%seats'", (CUT_S,)).rowcount == 1
        journal.execute("UPDATE sessions SET starts = starts - ?, ends = ends - ?", (CUT_S, CUT_S))
    wait_until(lambda: cafe.pids("control") not in ([], [pid]) and curl(f"{cafe.web}/healthz").status == 200, 60)


def entries(api: httpx.Client) -> list[dict[str, Any]]:
    answer = api.get("/counter/entries")
    found: list[dict[str, Any]] = answer.json() if answer.is_success else []  # none while control starts
    return found


@pytest.mark.timeout(240)
def test_the_sums_of_a_shift_agree(cafe: Hedgerow) -> None:
    with browser_for_pages() as chromium:
        ana, ben = phone(chromium, cafe, "Ana"), phone(chromium, cafe, "Ben")
        open_seat(ana, "seat-1", taps=2)
        open_seat(ben, "seat-2", taps=2)
        open_seat(ana, "seat-3", pays="afterwards")
        with script(cafe) as api:
            number = api.post("/members", json={"name": "Vera"}).json()["number"]
            api.post(f"/members/{number}/deposit", json={"amount": 500}).raise_for_status()
            code, _ = api.post("/vouchers", json={"count": 2, "band": "adult", "minutes": 60}).json()["codes"]

        ben.reload()
        open_from_balance(ben, "seat-5", number)

        power_cut(cafe)
        after_the_cut(cafe, chromium, code)


def after_the_cut(cafe: Hedgerow, chromium: Browser, code: str) -> None:
    with script(cafe) as api:  # the token of the command line is a new one
        wait_until(lambda: any(each["action"] == "outage" for each in entries(api)), 60, "the time is given back")
        given_back = [(each["seat"], each["minutes"]) for each in entries(api) if each["action"] == "outage"]
        assert [seat for seat, _ in given_back] == [*SEATS[:3], "seat-5"]
        assert {minutes for _, minutes in given_back} <= {20, 21}

        a_guest_asks(cafe, phone(chromium, cafe, "Ben"), code)
        api.post("/sessions/seat-4", json={"band": "child", "minutes": 30, "pays": "after"}).raise_for_status()
        with closing(sqlite3.connect(cafe.state / "journal.sqlite", timeout=30)) as journal, journal:
            journal.execute("UPDATE sessions SET ends = starts WHERE device = 'seat-4'")  # it ended by itself
        # and control reads the sessions again
        api.post("/sessions/seat-2/pause", json={"minutes": 5}).raise_for_status()
        api.post("/sessions/seat-2/resume").raise_for_status()

        ben = phone(chromium, cafe, "Ben")
        unpaid = ben.locator(".unpaid li")
        expect(unpaid).to_contain_text(["seat-4"])
        expected = api.get("/counter/till").json()["expected"]
        assert expected == 200 + 200 + 600 + 500
        ben.locator("#till summary").tap()
        ben.locator("[name=counted]").fill("14.50")
        ben.locator("#till [name=pin]").fill(PINS["Ben"])
        ben.get_by_role("button", name="Record the count").tap()
        expect(ben.locator("#counts")).to_be_visible()

        report = api.get("/counter/report").json()
        counts = [(each["actor"], each["expected"], each["counted"], each["difference"]) for each in report["counts"]]
        assert counts == [("Ben", 1500, 1450, -50)]
        assert report["takings"] == {"EUR": 1500}
        assert (report["paid_in"], report["from_balances"]) == ({"EUR": 500}, {"EUR": 200})
        owed = {each["seat"]: each["amount"] for each in report["unpaid"]}
        assert owed == {"seat-3": 200, "seat-4": 120}
        text = hedgerow_command("seat", "report", "--state", str(cafe.state)).stdout
        assert re.search(r"^ *takings +15\.00 EUR\s*$", text, re.MULTILINE), text
        assert re.search(
            r"^ *till counted by Ben, expected 15\.00 EUR, difference -0\.50 EUR +14\.50 EUR\s*$", text, re.MULTILINE
        ), text
        page = ben.context.request.get(f"{cafe.web}/counter/report.csv")
        table = list(csv.DictReader(io.StringIO(page.text())))
        assert sum(int(each["taken"]) for each in table) == 1500
        assert sum(int(each["unpaid"]) for each in table) == sum(owed.values())
        assert sum(int(each["due"]) for each in table) == 1000 + 200 + sum(owed.values()), (
            "the session that a balance paid too"
        )
        assert sum(each["action"] == "open" for each in table) == 5, "a double tap opens once"
        assert [each["seat"] for each in table if each["action"] == "redeem"] == ["seat-6"]
        assert "expected 1500, counted 1450, left 0" in [each["note"] for each in table]
    check_the_chain(cafe, table)


def a_guest_asks(cafe: Hedgerow, ben: Page, code: str) -> None:
    """A guest opens seat 6 with a voucher, and asks for a site there. Ben allows it with one tap."""
    transport = httpx.HTTPTransport(local_address=ADDRESSES["seat-6"], verify=False)
    with httpx.Client(transport=transport, headers={"Origin": cafe.web}, timeout=60) as guest:
        assert guest.post(f"{cafe.web}/device/voucher", data={"code": code}).status_code == 303
        assert guest.post(f"{cafe.web}/device/ask", data={"site": BLOCKED}).status_code == 303

    def is_blocked() -> bool:
        return kdig_addresses(cafe.dns, BLOCKED, source=ADDRESSES["seat-6"]) == ["0.0.0.0"]

    assert is_blocked()
    ben.goto(cafe.web)
    ben.locator("article", has_text=BLOCKED).get_by_role("button", name="Allow").first.tap()
    wait_until(lambda: not is_blocked(), 30, "what Ben allowed is open")


def check_the_chain(cafe: Hedgerow, table: list[dict[str, str]]) -> None:
    """Check that the chain of the counter's entries holds, and has the sums of the report."""
    statements, copy, key = (str(cafe.state.parent / name) for name in ("statements.jsonl", "entries.jsonl", "key.pem"))
    files = ("--statements", statements, "--entries", copy, "--public-key", key)
    written = hedgerow_command("seat", "audit", "--state", str(cafe.state), *files)
    assert written.returncode == 0, written.stderr
    assert f"{statements}: no statements, since the first one is made" in written.stderr
    assert re.search(rf"^{re.escape(copy)}: [0-9]+ entries of the counter\.$", written.stderr, re.MULTILINE)
    chain = [json.loads(line)["entry"] for line in Path(copy).read_text().splitlines()]
    assert sum(each.get("taken", 0) for each in chain) == 1500
    assert sum(each.get("due", 0) for each in chain) == sum(int(each["due"]) for each in table)
    checked = hedgerow_command("seat", "audit", "--verify", statements, "--entries", copy, "--key", key)
    assert f"No statements, {len(chain)} entries of the counter." in checked.stdout
    assert checked.returncode == 2, checked.stdout
    assert "No statement was checked" in checked.stdout, "the day is not over, and the entries are whole"
