"""Money at a café's counter is taken once: by taps on a phone, by two people, by scripts, after a crash, and on two
machines.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joined_machines import join
from playwright.sync_api import Browser, expect
from postgres_server import PostgresServer, running_server
from small_internet import SmallInternet
from small_internet.browser import browser_for_pages, wait_for_script
from small_internet.clients import curl
from small_internet.running import Hedgerow, hedgerow_again, network_section, running_hedgerow, wait_until

PASSWORD = "eight seats and one door"
SEATS = [f"seat-{number}" for number in range(1, 9)]
POLICY = "cafe:\n  currency: EUR\n  prices: {child: 200, adult: 300}\nseats:\n" + "".join(
    f"  {seat}: {{ip: 127.0.0.{100 + number}}}\n" for number, seat in enumerate(SEATS)
)
PHONE = {"width": 390, "height": 844}
AT_ONCE = 4


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser_for_pages() as browser:
        yield browser


@contextmanager
def browser_of(cafe: Hedgerow) -> Iterator[httpx.Client]:
    """A browser that is signed in with the counter's account."""
    with httpx.Client(
        base_url=cafe.web, headers={"Origin": cafe.web}, trust_env=False, timeout=60, verify=False
    ) as http:
        assert http.post("/sign-in", data={"name": "counter", "password": PASSWORD}).status_code == 303
        yield http


def set_up(cafe: Hedgerow) -> None:
    token = (cafe.state / "admin-token").read_text().strip()
    for name, role in (("owner", "admin"), ("counter", "operator")):
        account = {"name": name, "role": role, "password": PASSWORD}
        httpx.post(
            f"{cafe.web}/api/v1/accounts",
            json=account,
            headers={"Authorization": f"Bearer {token}"},
            verify=False,
            timeout=60,
        ).raise_for_status()


@pytest.fixture(scope="module")
def cafe(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(whole_internet) + POLICY) as running:
        set_up(running)
        yield running


@pytest.fixture
def counter(cafe: Hedgerow) -> Iterator[httpx.Client]:
    """A browser at the counter. Nobody sits anywhere."""
    with browser_of(cafe) as http:
        for session in http.get("/api/v1/sessions").json():
            http.post(f"/api/v1/sessions/{session['device']}/end").raise_for_status()
        yield http


def entries(counter: httpx.Client, since: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = counter.get("/api/v1/counter/entries").json()
    return [each for each in found if each["id"] > since]


def last_entry(counter: httpx.Client) -> int:
    return max((each["id"] for each in entries(counter)), default=0)


def once_of(page: str) -> str:
    """Return the id with which a page sends its forms."""
    found = re.search(r'name="once" value="([0-9a-f]+)"', page)
    assert found is not None
    return found[1]


def at_once(*requests: Callable[[], httpx.Response]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(requests)) as pool:
        return [each.result() for each in [pool.submit(request) for request in requests]]


def test_two_taps_on_a_phone_open_a_seat_once(cafe: Hedgerow, counter: httpx.Client, chromium: Browser) -> None:
    since = last_entry(counter)
    context = chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True)  # type: ignore[arg-type]
    context.add_cookies([{"name": "hedgerow_session", "value": counter.cookies["hedgerow_session"], "url": cafe.web}])
    page = context.new_page()
    # control stands still while it is tapped: a page that listened to it would notice, and take its buttons away
    page.add_init_script("delete window.EventSource")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.goto(f"{cafe.web}/counter")
    (control,) = cafe.pids("control")
    seat = page.locator("[data-seat=seat-8]")

    def tap_twice(name: str) -> None:
        page.evaluate("for (const each of document.querySelectorAll('[data-seat=seat-8] details')) each.open = true")
        button = seat.get_by_role("button", name=name)
        button.scroll_into_view_if_needed()
        found = button.bounding_box()
        assert found is not None
        sent.clear()
        page.evaluate("window.isBefore = true")
        os.kill(control, signal.SIGSTOP)  # so that the page is still there for the second tap
        try:
            page.touchscreen.tap(found["x"] + found["width"] / 2, found["y"] + found["height"] / 2)
            wait_until(lambda: page.title() and "POST" in sent, 20, "the first tap is sent")
            page.wait_for_timeout(100)  # a browser drops a tap's request if the next one comes too early
            page.touchscreen.tap(found["x"] + found["width"] / 2, found["y"] + found["height"] / 2)
            wait_until(lambda: page.title() and sent.count("POST") == 2, 20, "both taps are sent")
        finally:
            os.kill(control, signal.SIGCONT)
        wait_for_script(page, "!window.isBefore && document.readyState === 'complete'")

    tap_twice("Open seat-8")
    expect(seat).to_contain_text("60")
    tap_twice("15 minutes extra")
    expect(seat.locator("summary").first).to_contain_text("75")
    context.close()
    found = [(each["action"], each["seat"], each["taken"]) for each in entries(counter, since)]
    assert found == [("open", "seat-8", 200), ("extend", "seat-8", 50)]


def test_of_two_people_who_open_a_seat_one_is_asked(cafe: Hedgerow, counter: httpx.Client) -> None:
    since = last_entry(counter)
    with browser_of(cafe) as other:
        forms = [
            {"once": once_of(http.get("/counter").text), "seat": "seat-1", "band": "child", "minutes": 60}
            for http in (counter, other)
        ]
        first = counter.post("/counter/open", data=forms[0])
        assert first.status_code == 303
        second = other.post("/counter/open", data=forms[1])
        assert second.status_code == 200
        assert "seat-1 is taken." in second.text
        assert [each["action"] for each in entries(counter, since)] == ["open"]
        found = re.search(r'name="replaces" value="([0-9a-f]+)"', second.text)
        assert found is not None
        confirmed = forms[1] | {"sure": "yes", "replaces": found[1]}
        for _ in range(2):
            assert other.post("/counter/open", data=confirmed).status_code == 303
    found_entries = entries(counter, since)
    assert [each["action"] for each in found_entries] == ["open", "end", "open"], "the session that is replaced ends"
    assert found_entries[1]["session"] == found_entries[0]["session"]


def test_requests_at_once_open_a_seat_once(counter: httpx.Client) -> None:
    since = last_entry(counter)
    order = {"band": "child", "minutes": 60}
    answers = at_once(*[lambda: counter.post("/api/v1/sessions/seat-2", json=order)] * AT_ONCE)
    assert sorted(each.status_code for each in answers) == [201, 409, 409, 409]
    refused = next(each.json() for each in answers if each.status_code == 409)
    session = next(each.json() for each in answers if each.status_code == 201)
    assert "seat-2 is taken" in refused["detail"]
    assert refused["session"] == session["id"]
    assert sum(each["taken"] for each in entries(counter, since)) == 200

    again = counter.post("/api/v1/sessions/seat-2", json=order | {"replaces": refused["session"]})
    assert again.status_code == 201
    assert counter.post("/api/v1/sessions/seat-2", json=order | {"replaces": refused["session"]}).status_code == 409, (
        "that one is over"
    )


@pytest.mark.parametrize("way", ["api", "form"])
def test_each_request_is_carried_out_once(counter: httpx.Client, way: str) -> None:
    """All that has to do with money, four times at once and once more, with the same id.

    Every answer is the first one.
    """

    def send(path: str, form: str, fields: dict[str, object], method: str = "POST") -> list[httpx.Response]:
        key = f"{path} {len(entries(counter))}"
        if way == "api":
            body = None if method == "DELETE" else fields

            def one() -> httpx.Response:
                return counter.request(method, f"/api/v1{path}", json=body, headers={"Idempotency-Key": key})
        else:
            once = once_of(counter.get("/counter").text)
            seat = (
                {"seat": path.split("/")[2]} if path.startswith("/sessions/seat") else {"session": path.split("/")[-1]}
            )

            def one() -> httpx.Response:
                return counter.post(f"/counter/{form}", data={**seat, **fields, "once": once})

        answers = [*at_once(*[one] * AT_ONCE), one()]
        assert len({each.status_code for each in answers}) == 1, [each.text for each in answers]
        assert answers[0].is_success or answers[0].status_code == 303, answers[0].text
        if answers[0].headers.get("content-type") == "application/json":
            assert len({each.text for each in answers}) == 1
        return answers

    since = last_entry(counter)
    send("/sessions/seat-3", "open", {"band": "child", "minutes": 60, "pays": "after"})
    send("/sessions/seat-3/extend", "extend", {"minutes": 30})
    send("/sessions/seat-3/pause", "pause", {})
    counter.post("/api/v1/sessions/seat-3/resume").raise_for_status()
    send("/sessions/seat-3/move", "move", {"to": "seat-4"})
    ended = send("/sessions/seat-4/end", "end", {})
    session = entries(counter, since)[0]["session"]
    if way == "form":
        assert {parse_qs(urlsplit(each.headers["location"]).query)["ended"][0] for each in ended} == {session}, (
            "each offers to undo it"
        )
    send(
        f"/sessions/{session}/reopen" if way == "api" else f"/{session}",
        "reopen",
        {} if way == "form" else {"ends": None},
    )
    send("/sessions/seat-4/end", "end", {})
    send("/sessions/seat-5", "open", {"band": "adult", "minutes": 60})
    send("/sessions/seat-5/end", "end", {})
    paid = entries(counter, since)[-1]["session"]
    sheets = send(f"/vouchers/credit/{paid}" if way == "api" else f"/{paid}", "credit", {})
    assert len({tuple(codes_of(each.text)) for each in sheets}) == 1, "the same voucher is shown again"
    sheets = send("/vouchers" if way == "api" else "/x", "vouchers", {"count": 3, "band": "child", "minutes": 60})
    assert len({tuple(codes_of(each.text)) for each in sheets}) == 1
    assert len(codes_of(sheets[0].text)) == 3
    found = [(each["action"], each["count"], each["due"], each["taken"]) for each in entries(counter, since)]
    assert [action for action, *_ in found] == [
        *("open", "extend", "pause", "resume", "move", "end", "reopen", "end"),
        *("open", "end", "credit", "print"),
    ]
    assert sum(taken for *_, taken in found) == 300 + 600
    send("/vouchers" if way == "api" else "/x", "vouchers/withdraw", {}, "DELETE")
    assert [each["action"] for each in entries(counter, since)][-1] == "withdraw"
    assert entries(counter, since)[-1]["count"] >= 4


def codes_of(page: str) -> list[str]:
    return re.findall(
        r"[A-Z0-9]{4}-[A-Z0-9]{4}", re.sub(r'(?s)<(?:svg|script|head).*?</(?:svg|script|head)>|"voucher".*', "", page)
    )


def test_a_debt_is_paid_once(counter: httpx.Client) -> None:
    since = last_entry(counter)
    counter.post("/api/v1/sessions/seat-6", json={"band": "child", "minutes": 60, "pays": "after"}).raise_for_status()
    session = entries(counter, since)[0]["session"]
    headers = {"Idempotency-Key": "till 7"}
    answers = at_once(*[lambda: counter.post(f"/api/v1/counter/payments/{session}", headers=headers)] * AT_ONCE)
    assert {each.status_code for each in answers} == {204}
    assert counter.post(f"/api/v1/counter/payments/{session}").status_code == 422
    assert [(each["action"], each["taken"]) for each in entries(counter, since)] == [("open", 0), ("pay", 200)]


def test_the_ids_of_a_request_are_its_clients_own(cafe: Hedgerow, counter: httpx.Client) -> None:
    """Two clients may choose the same key, and one client may use it for different actions and seats."""
    token = (cafe.state / "admin-token").read_text().strip()
    since = last_entry(counter)
    order, headers = {"band": "child", "minutes": 60}, {"Idempotency-Key": "1"}
    counter.post("/api/v1/sessions/seat-7", json=order, headers=headers).raise_for_status()
    counter.post("/api/v1/sessions/seat-8", json=order, headers=headers).raise_for_status()
    script = headers | {"Authorization": f"Bearer {token}"}
    assert (
        httpx.post(
            f"{cafe.web}/api/v1/sessions/seat-7", json=order, headers=script, verify=False, timeout=60
        ).status_code
        == 409
    )
    counter.post("/api/v1/sessions/seat-7/end", headers=headers).raise_for_status()
    over = counter.post("/api/v1/sessions/seat-7", json=order, headers=headers)
    assert over.status_code == 409
    assert "load the page again" in over.json()["detail"]
    assert [each["action"] for each in entries(counter, since)] == ["open", "open", "end"]


def test_a_request_is_remembered_when_control_was_killed(cafe: Hedgerow, counter: httpx.Client) -> None:
    since = last_entry(counter)
    order, headers = {"band": "child", "minutes": 60}, {"Idempotency-Key": "before the crash"}
    counter.post("/api/v1/sessions/seat-1", json=order, headers=headers).raise_for_status()
    made = counter.post("/api/v1/vouchers", json={"count": 2, "band": "child", "minutes": 60}, headers=headers)
    assert made.status_code == 201
    (pid,) = cafe.pids("control")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: cafe.pids("control") not in ([], [pid]) and curl(f"{cafe.web}/healthz").status == 200, 60)
    assert counter.post("/api/v1/sessions/seat-1", json=order, headers=headers).status_code == 201
    again = counter.post("/api/v1/vouchers", json={"count": 2, "band": "child", "minutes": 60}, headers=headers)
    assert again.status_code == 409
    assert "shown only once" in again.json()["detail"]
    assert [(each["action"], each["taken"]) for each in entries(counter, since)] == [("open", 200), ("print", 400)]


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with running_server() as server:
        server.execute("ALTER ROLE hedgerow CREATEROLE")
        yield server


def test_two_machines_take_money_once(internet: SmallInternet, server: PostgresServer, tmp_path: Path) -> None:
    policy = network_section(internet) + f'  store: "{server.address(server.database()).url}"\n' + POLICY
    places = [tmp_path / name for name in ("one", "other")]
    for place in places:
        place.mkdir()
    with ExitStack() as runs:
        one = runs.enter_context(running_hedgerow(policy, directory=places[0]))
        set_up(one)
        join(one, places[1])
        other = runs.enter_context(hedgerow_again(places[1], places[1] / "log"))
        wait_until(lambda: curl(f"{other.web}/healthz").status == 200, 60, "its pages answer")
        first, second = (runs.enter_context(browser_of(node)) for node in (one, other))
        order = {"band": "child", "minutes": 60}

        def both(path: str, body: object, key: str = "") -> list[int]:
            headers = {"Idempotency-Key": key} if key else {}
            sending = [
                lambda http=http: http.post(f"/api/v1{path}", json=body, headers=headers)
                for http in (first, second) * 2
            ]
            return sorted(each.status_code for each in at_once(*sending))

        for seat in SEATS[:4]:
            assert both(f"/sessions/{seat}", order) == [201, 409, 409, 409]
            assert both(f"/sessions/{seat}/extend", {"minutes": 30}, f"more {seat}") == [204] * 4
        assert both("/sessions/seat-5", order, "open") == [201] * 4
        assert both("/sessions/seat-5/end", {}, "end") == [204] * 4
        assert sorted(both("/sessions/seat-1/pause", {"minutes": 5})) == [204, 422, 422, 422]
        found = entries(first)
        assert [each["action"] for each in found if each["seat"] == "seat-5"] == ["open", "end"]
        assert sum(each["taken"] for each in found) == 4 * 300 + 200
        assert all(
            [each["action"] for each in found if each["seat"] == seat][:2] == ["open", "extend"] for seat in SEATS[:4]
        )
