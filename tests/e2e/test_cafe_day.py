"""A day at a café: three people at the counter, 20 seats, 60 sessions.

Their report says what was done, and nothing else.

A few things are done by taps on a phone in Chromium, which are counted; the rest sends the same forms.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from small_internet import SmallInternet
from small_internet.browser import browser_for_pages
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow

PINS = {"Ana": "2580", "Ben": "4711", "Eve": "9021"}
SEATS = [f"seat-{number}" for number in range(1, 21)]
PRICES = {"child": 200, "adult": 300}
POLICY = (
    "cafe:\n  name: Café Sol\n  currency: EUR\n"
    "  prices: {child: {30: 120, 60: 200}, adult: 300}\n"
    "  roles: {lead: {}, staff: {adult_sessions: 12, adult_vouchers: 5, early_ends: 10}, token: {adult_sessions: 1}}\n"
    "seats:\n" + "".join(f"  {seat}: {{ip: 127.0.0.{100 + number}}}\n" for number, seat in enumerate(SEATS))
)
PASSWORD = "twenty seats and one door"
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser_for_pages() as browser:
        yield browser


class CounterClient:
    """A browser session of the café's account, by forms. It keeps its own tally of what it does."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.done: Counter[str] = Counter()
        assert self.http.post("/sign-in", data={"name": "counter", "password": PASSWORD}).status_code == 303

    def send(self, what: str, form: dict[str, object], expected: int = 303) -> httpx.Response:
        answer = self.http.post(f"/counter/{what}", data=form)
        assert answer.status_code == expected, (what, form, answer.text)
        return answer

    def take_over(self, name: str) -> None:
        self.send("duty", {"name": name, "pin": PINS[name]})

    def open(self, seat: str, band: str, minutes: int = 60, pays: str = "before") -> None:
        self.send("open", {"seat": seat, "band": band, "minutes": minutes, "pays": pays})
        self.done[f"open {band}"] += 1
        price = {("child", 30): 120, ("child", 60): 200, ("adult", 60): 300}[band, minutes]
        self.done["taken"] += price if pays == "before" else 0


@contextmanager
def signed_in(cafe: Hedgerow) -> Iterator[CounterClient]:
    with httpx.Client(
        base_url=cafe.web, headers={"Origin": cafe.web}, trust_env=False, timeout=60, verify=False
    ) as http:
        yield CounterClient(http)


@pytest.fixture(scope="module")
def cafe(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(whole_internet) + POLICY) as running:
        token = (running.state / "admin-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(
            base_url=f"{running.web}/api/v1", trust_env=False, timeout=60, headers=headers, verify=False
        ) as api:
            for name, role in (("owner", "admin"), ("counter", "operator")):
                api.post("/accounts", json={"name": name, "role": role, "password": PASSWORD}).raise_for_status()
            for name, pin in PINS.items():
                api.put(
                    f"/staff/{name}", json={"role": "lead" if name == "Eve" else "staff", "pin": pin}
                ).raise_for_status()
        yield running


def rows(cafe: Hedgerow, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(cafe.state / "journal.sqlite")) as journal:
        return journal.execute(query).fetchall()


def report_of(cafe: Hedgerow, *words: str) -> dict[str, Any]:
    done = hedgerow_command("seat", "report", "--json", *words, "--state", str(cafe.state))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def redeem(cafe: Hedgerow, seat: str, code: str) -> int:
    """Type a voucher at a seat."""
    transport = httpx.HTTPTransport(local_address=f"127.0.0.{100 + SEATS.index(seat)}", verify=False)
    with httpx.Client(transport=transport, headers={"Origin": cafe.web}, timeout=60) as guest:
        return guest.post(f"{cafe.web}/device/voucher", data={"code": code}).status_code


def box_of(page: Page, selector: str) -> dict[str, float]:
    """Return the place of the first element that matches, in one step, since live pages replace their parts."""
    found: dict[str, float] = page.evaluate(
        "selector => document.querySelector(selector).getBoundingClientRect().toJSON()", selector
    )
    return found


def codes_of(page: str) -> list[str]:
    return re.findall(r'class="digits">([A-Z0-9]{4}-[A-Z0-9]{4})<', page)


class Taps:
    """Taps on a phone, counted."""

    def __init__(self) -> None:
        self.count = 0

    def on(self, place: Locator) -> None:
        self.count += 1
        place.tap()

    def since(self) -> int:
        count, self.count = self.count, 0
        return count


def on_a_phone(chromium: Browser, cafe: Hedgerow, client: CounterClient) -> None:
    """Change the person, open, extend, end, undo and give credit by taps."""
    context = chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True)  # type: ignore[arg-type]
    context.add_cookies(
        [{"name": "hedgerow_session", "value": client.http.cookies["hedgerow_session"], "url": cafe.web}]
    )
    page, taps = context.new_page(), Taps()
    page.goto(f"{cafe.web}/counter")
    taps.on(page.get_by_text("On duty: Eve"))
    page.locator(".duty [name=name]").select_option("Ben")
    page.locator(".duty [name=pin]").fill(PINS["Ben"])
    taps.on(page.get_by_role("button", name="Take over"))
    expect(page.get_by_text("On duty: Ben")).to_be_visible()
    assert taps.since() == 2, "and a name and a PIN"
    seat = page.locator("[data-seat=seat-20]")
    taps.on(seat.get_by_role("button"))
    expect(seat).to_contain_text("60")
    assert taps.since() == 1, "opening a seat"
    client.done["open child"] += 1
    client.done["taken"] += PRICES["child"]
    last, code = box_of(page, "[data-seat=seat-20]"), box_of(page, ".seat")
    assert last["y"] + last["height"] <= box_of(page, "nav")["y"], "20 seats are on the screen at once"
    assert min(code["width"], code["height"]) >= 44
    taps.on(seat.locator("summary").first)
    taps.on(seat.get_by_role("button", name="15 minutes extra"))
    expect(page.locator("[data-done]")).to_contain_text("15 minutes at seat-20")  # the page is the next one
    expect(seat.locator("summary").first).to_contain_text("75")
    assert taps.since() == 2, "15 minutes more"
    client.done["taken"] += 50
    for unfolding in (0, 1):  # after the extension, the seat is still unfolded
        if unfolding:
            taps.on(seat.locator("summary").first)
        taps.on(seat.locator("summary").last)
        taps.on(seat.get_by_role("button", name="End now"))
        expect(seat).to_contain_text("free")
        assert taps.since() == 2 + unfolding, "an end, confirmed"
        client.done["early ends"] += 1
        if client.done["undone"]:
            break
        taps.on(page.get_by_role("button", name="Undo"))
        expect(seat).not_to_contain_text("free")
        assert taps.since() == 1, "undoing it"
        client.done["undone"] += 1
        client.done["early ends"] -= 1
    taps.on(page.get_by_role("button", name="Voucher for the unused"))
    expect(page.locator(".vouchers li svg")).to_be_visible()
    modules = page.locator(".vouchers svg path").last.bounding_box()
    picture = page.locator(".vouchers svg").bounding_box()
    assert modules is not None
    assert picture is not None
    assert modules["width"] < picture["width"], "the whole code is shown"
    expect(page.locator(".vouchers li")).to_contain_text("Café Sol")
    assert taps.since() == 1, "credit"
    client.done["credits"] += 1
    context.close()


def morning(client: CounterClient) -> None:
    """Without anybody on duty nothing is done. Each role has its limits; a lead has none."""
    assert "enter your PIN" in client.send("open", {"seat": "seat-1", "band": "child", "minutes": 60}, 422).text
    client.send("duty", {"name": "Ana", "pin": "0000"}, 422)
    client.take_over("Ana")
    for number, seat in enumerate(SEATS):
        client.open(seat, "adult" if number < 12 else "child")
    client.send("end", {"seat": "seat-20"})
    assert (
        "12 sessions for adults"
        in client.send("open", {"seat": "seat-20", "band": "adult", "minutes": 60, "pays": "before"}, 422).text
    )
    for seat in SEATS[:4]:
        client.send("extend", {"seat": seat, "minutes": 30})
        client.done["taken"] += 150
    for seat in SEATS[:9]:
        client.send("end", {"seat": seat})
    assert "end 10 sessions early" in client.send("end", {"seat": "seat-10"}, 422).text
    client.take_over("Eve")
    for seat in SEATS[9:19]:
        client.send("end", {"seat": seat})
    client.done["early ends"] += 20


def noon(cafe: Hedgerow, client: CounterClient) -> None:
    """Children, half of whom pay afterwards."""
    client.take_over("Ben")
    for number, seat in enumerate(SEATS):
        client.open(seat, "child", pays="after" if number % 2 else "before")
    client.take_over("Eve")
    for number, seat in enumerate(SEATS):
        ended = client.send("end", {"seat": seat}).headers["location"]
        if number == 1:
            assert re.search(r"to pay: €[0-9]\.[0-9]{2}</b>", client.http.get(ended).text), "the sum is said at the end"
        if number % 2:
            client.send("pay", {"session": re.search("ended=([0-9a-f]+)", ended).group(1)})  # type: ignore[union-attr]
            client.done["payments"] += 1
    client.send("pay", {"session": re.search("ended=([0-9a-f]+)", ended).group(1)}, 422)  # type: ignore[union-attr]
    client.done["early ends"] += 20


def evening(cafe: Hedgerow, client: CounterClient) -> None:
    """Vouchers, sold now or later; a guest who moves, and one who pauses."""
    client.take_over("Ben")
    sold = client.send("vouchers", {"count": 5, "band": "adult", "minutes": 60, "paid": "yes"}, 200).text
    assert "€3.00" in sold
    client.done["taken"] += 5 * PRICES["adult"]
    assert "5 vouchers for adults" in client.send("vouchers", {"count": 1, "band": "adult", "minutes": 60}, 422).text
    client.take_over("Eve")
    stock = client.send("vouchers", {"count": 20, "band": "child", "minutes": 60, "paid": "no"}, 200).text
    for seat, code in zip(SEATS[:6], codes_of(sold)[:3] + codes_of(stock)[:3], strict=True):
        assert redeem(cafe, seat, code) == 303
    client.done["taken"] += 3 * PRICES["child"]
    client.done["open adult"] += 3
    client.done["open child"] += 3
    for seat in SEATS[6:19]:
        client.open(seat, "child", 30)
    client.send("pause", {"seat": "seat-7"})
    client.send("resume", {"seat": "seat-7"})
    client.send("move", {"seat": "seat-8", "to": "seat-20"})
    client.send("move", {"seat": "seat-20", "to": "seat-8"})
    client.send("vouchers/withdraw", {})


@pytest.mark.timeout(300)
def test_the_report_of_a_day_is_what_was_done(cafe: Hedgerow, chromium: Browser) -> None:
    with signed_in(cafe) as client:
        morning(client)
        noon(cafe, client)
        evening(cafe, client)
        on_a_phone(chromium, cafe, client)
        table, page = client.http.get("/counter/report.csv").text, client.http.get("/counter/report").text

    done = client.done
    report = report_of(cafe)
    sessions = {each["kind"]: each["count"] for each in report["sessions"]}
    assert sessions == {"adult": done["open adult"], "child": done["open child"]}
    assert sum(sessions.values()) == 60
    assert {each["kind"]: each["count"] for each in report["vouchers"]} == {"adult": 5, "child": 20}
    assert (report["vouchers_used"], report["adult_sessions"], report["credits"], report["wrong_pins"]) == (
        6,
        15,
        done["credits"],
        1,
    )
    assert report["early_ends"] == done["early ends"]

    # The sessions themselves, which the report does not read.
    assert dict(rows(cafe, "SELECT profile, count(*) FROM sessions GROUP BY profile")) == {
        f"seat-{kind}": count for kind, count in sessions.items()
    }
    assert rows(cafe, "SELECT count(*) FROM vouchers") == [(26,)]
    paid = rows(cafe, "SELECT sum(taken) FROM counter_entries WHERE action = 'pay'")[0][0]
    assert done["payments"] <= paid < done["payments"] * PRICES["child"], "each used a part of the hour"
    assert report["takings"] == {"EUR": done["taken"] + paid}

    # The file of all entries says the same, and each person's report is a part of it.
    entries = list(csv.DictReader(io.StringIO(table)))
    assert sum(int(each["taken"]) for each in entries) == report["takings"]["EUR"]
    assert sum(each["action"] in ("open", "redeem") for each in entries) == 60
    assert {each["actor"] for each in entries} == {*PINS, "counter", "a voucher"}
    parts = [report_of(cafe, "--by", who) for who in (*PINS, "a voucher")]
    assert sum(part["takings"].get("EUR", 0) for part in parts) == report["takings"]["EUR"]
    assert page.count('href="/counter/receipt?session=') == 60
    kept = page + json.dumps(rows(cafe, "SELECT name, pin FROM staff"))
    assert not re.search(r"\b2580\b", kept), "a PIN; the ids of sessions are random, and may have these digits in them"


def test_pins_are_bounded_and_belong_to_a_session(cafe: Hedgerow) -> None:
    with signed_in(cafe) as first, signed_in(cafe) as second:
        _use_pins(cafe, first, second)


def _use_pins(cafe: Hedgerow, first: CounterClient, second: CounterClient) -> None:
    first.take_over("Ana")
    second.send("extend", {"seat": "seat-1", "minutes": 15}, 422)
    token = {"Cookie": f"hedgerow_session={second.http.cookies['hedgerow_session']}", "Origin": cafe.web}
    answer = httpx.post(
        f"{cafe.web}/api/v1/sessions/seat-1",
        json={"band": "adult"},
        headers=token,
        trust_env=False,
        verify=False,
        timeout=60,
    )
    assert answer.status_code == 422, "the account alone opens nothing by the API either"
    for _ in range(5):
        assert "not the PIN" in second.send("duty", {"name": "Ben", "pin": "1357"}, 422).text
    assert "Too many wrong PINs" in second.send("duty", {"name": "Ben", "pin": PINS["Ben"]}, 422).text
    second.take_over("Ana")
    second.send("duty", {"name": "Eve", "pin": "1357"}, 422)
    assert report_of(cafe, "--by", "Ana")["wrong_pins"] == 1, "whoever is on duty is named"
    second.send("leave", {})
    first.take_over("Eve")
    first.send("leave", {})
    first.send("end", {"seat": "seat-1"}, 422)


def test_a_token_has_the_limits_of_its_role(cafe: Hedgerow) -> None:
    with httpx.Client(base_url=f"{cafe.web}/api/v1", trust_env=False, timeout=60, verify=False) as api:
        api.headers["Authorization"] = f"Bearer {(cafe.state / 'admin-token').read_text().strip()}"
        made = [
            api.post("/tokens", json={"name": name, "scopes": ["manage"]}).json()["token"] for name in ("till", "kiosk")
        ]
        statuses = []
        for token in (made[0], made[0], made[1]):
            api.headers["Authorization"] = f"Bearer {token}"
            opened = api.post("/sessions/seat-20", json={"band": "adult", "minutes": 60})
            statuses.append(opened.status_code)
            if opened.is_success:
                assert api.post("/sessions/seat-20/end").status_code == 204
            else:
                assert "token till may open 1 sessions for adults" in opened.text
    assert statuses == [201, 422, 201]


def command(cafe: Hedgerow, *words: str) -> Any:
    """Run a command and return its JSON, None for a refusal."""
    done = hedgerow_command(*words, "--json", "--state", str(cafe.state))
    if done.returncode == 0:
        return json.loads(done.stdout)
    assert done.stderr.startswith("hedgerow: ")
    return None


def test_the_till_and_members_by_commands(cafe: Hedgerow) -> None:
    """A member pays in, is served from the balance and gets the rest back; then the till is counted."""
    before = command(cafe, "seat", "till")
    vera = command(cafe, "members", "add", "Vera")
    assert (vera["name"], vera["balance"]) == ("Vera", 0)
    number = str(vera["number"])
    assert command(cafe, "members", "add", "vera") is None
    command(cafe, "members", "deposit", number, "--amount", "500")
    free = ("seat", "open", "seat-18", "--replace", "--as", "child", "--minutes", "30")
    command(cafe, *free, "--member", number)
    command(cafe, "seat", "extend", "seat-18", "30")
    assert command(cafe, "seat", "extend", "seat-18", "1400") is None, "so much is not in the balance"
    command(cafe, "seat", "extend", "seat-18", "15", "--pays", "after")
    (owed,) = (each for each in report_of(cafe)["unpaid"] if each["seat"] == "seat-18")
    command(cafe, "members", "charge", number, owed["session"])
    assert command(cafe, "seat", "pay", owed["session"]) is None, "nothing is left to pay"
    assert command(cafe, "members", "remove", number) is None
    (member,) = command(cafe, "members", "list")
    assert member["balance"] == 500 - 200 - owed["amount"]
    command(cafe, "members", "deposit", number, "--amount", str(-member["balance"]))
    command(cafe, "members", "remove", number)
    assert command(cafe, "members", "list") == []

    now = command(cafe, "seat", "till")
    assert now["expected"] - before["expected"] == 200 + owed["amount"]
    seen = ("--expected", str(before["expected"]), "--last", str(before["last"]))
    counted = str(now["expected"] - 50)
    assert command(cafe, "seat", "count", counted, "--left", "0", *seen) is None, "something was paid meanwhile"
    seen = ("--expected", str(now["expected"]), "--last", str(now["last"]))
    count = command(cafe, "seat", "count", counted, "--left", "100", *seen)
    assert (count["difference"], count["left"]) == (-50, 100)
    assert command(cafe, "seat", "till")["expected"] == 100
