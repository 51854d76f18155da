"""All that opens something at a café's seat passes the counter: somebody on duty, the kind of session, limits, and an
entry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import kdig_addresses
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

SEAT, OTHER_SEAT, LAPTOP = "127.0.0.6", "127.0.0.7", "127.0.0.9"
UNNAMED = "127.0.0.77"
SPELLINGS = (UNNAMED, f"::ffff:{UNNAMED}", "02:00:00:00:00:77", "02-00-00-00-00-77", "tv")
"""Devices that nobody has named: addresses as they may be written, and a device that is known by its host name only."""
AT_SEATS = ("regular", "sam")
"""People whose own rules apply at a seat: at their device that has the profile of one, and at one that is shared."""
PASSWORD = "two seats and one door"
PINS = {"Ana": "2580", "Ben": "4711"}
POLICY = """
cafe:
  currency: EUR
  prices: {child: 200, adult: 300}
  roles: {lead: {}, staff: {adult_sessions: 3}}
block: [news.example, later.example]
lists:
  - {name: bets, category: gambling, path: bets.txt}
profiles:
  seat-adult: {block: [+gambling]}
seats:
  seat-1: {ip: 127.0.0.6, budget: {games: 30m}}
  seat-2: {ip: 127.0.0.7}
devices:
  laptop: {ip: 127.0.0.9, profile: seat-child}
  tv: {hostname: tv, profile: adult, budget: {games: 30m}}
  regulars-laptop: {ip: 127.0.0.10}
  lounge: {ip: 127.0.0.11, profile: seat-child}
  owners-phone: {ip: 127.0.0.12}
people:
  regular: {profile: seat-child, devices: [regulars-laptop], budget: {games: 30m}, bedtime: "BEDTIME", chores: {dishes: {games: 5m}}}
  sam: {age: 12, devices: [lounge], budget: {games: 30m}}
  kim: {age: 13, devices: [lounge]}
  owner: {age: 40, devices: [owners-phone]}
"""  # noqa: E501
_AT = [datetime.now(UTC) + timedelta(hours=hours) for hours in (3, 4)]
POLICY = POLICY.replace("BEDTIME", "-".join(f"{at:%H:%M}" for at in _AT))  # later, and at every hour tonight's
NOBODY = "Nobody is on duty"

type Attempt = Callable[[httpx.Client], httpx.Response]


@pytest.fixture(scope="module")
def cafe(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(whole_internet) + POLICY, lists={"bets.txt": "bets.example\n"}) as running:
        with script(running) as api:
            for name, role in (("owner", "admin"), ("counter", "operator")):
                api.post("/api/v1/accounts", json={"name": name, "role": role, "password": PASSWORD}).raise_for_status()
            for name, pin in PINS.items():
                role = "lead" if name == "Ana" else "staff"
                api.put(f"/api/v1/staff/{name}", json={"role": role, "pin": pin}).raise_for_status()
        yield running


def script(cafe: Hedgerow) -> httpx.Client:
    """A script on the machine itself, with the token of the command line."""
    token = (cafe.state / "admin-token").read_text().strip()
    return httpx.Client(
        base_url=cafe.web, trust_env=False, timeout=60, headers={"Authorization": f"Bearer {token}"}, verify=False
    )


@pytest.fixture
def counter(cafe: Hedgerow) -> Iterator[httpx.Client]:
    """A browser that is signed in as an operator, with nobody on duty. Nobody sits anywhere."""
    with (
        script(cafe) as api,
        httpx.Client(
            base_url=cafe.web, headers={"Origin": cafe.web}, trust_env=False, timeout=60, verify=False
        ) as http,
    ):
        for session in api.get("/api/v1/sessions").json():
            api.post(f"/api/v1/sessions/{session['device']}/end").raise_for_status()
        assert http.post("/sign-in", data={"name": "counter", "password": PASSWORD}).status_code == 303
        yield http


def take_over(counter: httpx.Client, name: str) -> None:
    assert counter.post("/counter/duty", data={"name": name, "pin": PINS[name]}).status_code == 303


def open_seat(counter: httpx.Client, seat: str, kind: str) -> None:
    counter.post(f"/api/v1/sessions/{seat}", json={"band": kind, "minutes": 60}).raise_for_status()


def asked(cafe: Hedgerow, source: str, site: str) -> int:
    """Ask for a site on a seat's own page. Returns the request's number."""
    transport = httpx.HTTPTransport(local_address=source, verify=False)
    with httpx.Client(transport=transport, headers={"Origin": cafe.web}, timeout=60) as guest:
        assert guest.post(f"{cafe.web}/device/ask", data={"site": site}).status_code == 303
    with script(cafe) as api:
        return int(next(each["id"] for each in api.get("/api/v1/requests").json() if each["host"] == site))


def entries(cafe: Hedgerow) -> list[dict[str, Any]]:
    with script(cafe) as api:
        found: list[dict[str, Any]] = api.get("/api/v1/counter/entries").json()
    return found


def is_blocked(cafe: Hedgerow, host: str, source: str) -> bool:
    return kdig_addresses(cafe.dns, host, source=source) == ["0.0.0.0"]


def call(path: str, **body: object) -> Attempt:
    return lambda counter: counter.post(f"/api/v1{path}", json=body)


def form(path: str, **fields: object) -> Attempt:
    return lambda counter: counter.post(path, data=fields)


def openings(request: int) -> dict[str, Attempt]:
    """Every way to open something at a seat, or for everybody, that an operator has."""
    how = {"how_long": "hour"}
    return {
        "grant": call("/grants", device="seat-1", subject="news.example", **how),
        "grant by address": call("/grants", device=SEAT, subject="news.example", **how),
        "grant at a device with a seat's profile": call("/grants", device="laptop", subject="news.example", **how),
        "grant for everybody": call("/grants", subject="news.example", **how),
        "approval": call(f"/requests/{request}/approve", **how),
        "code": call("/codes", device="seat-1", subject="news.example"),
        "code for a request": call("/codes", request=request),
        "code for minutes": call("/codes", device="seat-1", subject="games", minutes=15),
        "minutes": call("/bonus", name="seat-1", subject="games", minutes=15),
        "pause": call("/pause", device="seat-1", minutes=1),
        "pause for everybody": call("/pause", everybody=True, minutes=1),
        "end of a pause": call("/resume", device="seat-1"),
        "end of the pause for everybody": call("/resume"),
        "session": call("/sessions/seat-2", band="child", minutes=60),
        "minutes for a session": call("/sessions/seat-1/extend", minutes=15),
        "grant on a page": form("/grants/new", device="seat-1", subject="news.example", **{"for": "hour"}),
        "approval on a page": form(f"/requests/{request}/approve", **{"for": "hour"}),
        "code on a page": form(f"/requests/{request}/code"),
        "minutes on a page": form("/bonus", name="seat-1", subject="games", minutes=15),
        "pause on a page": form("/pause", device="seat-1", minutes=1),
        "end of a pause on a page": form("/resume", device="seat-1"),
        "session on a page": form("/counter/open", seat="seat-2", band="child", minutes=60),
        **{f"grant at {each}": call("/grants", device=each, subject="news.example", **how) for each in SPELLINGS},
        **{f"code for {each}": call("/codes", device=each, subject="news.example") for each in SPELLINGS},
        **{f"pause at {each}": call("/pause", device=each, minutes=1) for each in SPELLINGS},
        **{f"end of a pause at {each}": call("/resume", device=each) for each in SPELLINGS},
        "minutes for a device without a name": call("/bonus", name="tv", subject="games", minutes=15),
        "minutes for a session on a page": form("/counter/extend", seat="seat-1", minutes=15),
        **{f"grant for {each}": call("/grants", person=each, subject="news.example", **how) for each in AT_SEATS},
        **{f"code for {each}": call("/codes", person=each, subject="news.example") for each in AT_SEATS},
        **{f"minutes for {each}": call("/bonus", name=each, subject="games", minutes=15) for each in AT_SEATS},
        **{f"pause of {each}": call("/pause", person=each, minutes=1) for each in AT_SEATS},
        **{f"end of a pause of {each}": call("/resume", person=each) for each in AT_SEATS},
        "grant for a person on a page": form(
            "/grants/new", person="regular", subject="news.example", **{"for": "hour"}
        ),
        "later bedtime": call("/people/regular/bedtime/later", minutes=15),
        "later bedtime on a page": form("/bedtime/later", person="regular", minutes=15),
    }


def test_nothing_opens_at_a_seat_while_nobody_is_on_duty(cafe: Hedgerow, counter: httpx.Client) -> None:
    with script(cafe) as root:
        open_seat(root, "seat-1", "child")
    request = asked(cafe, SEAT, "news.example")
    before = entries(cafe)
    for name, attempt in openings(request).items():
        answer = attempt(counter)
        assert answer.status_code == 422, (name, answer.status_code)
        assert NOBODY in answer.text, (name, answer.text)
    assert entries(cafe) == before
    with script(cafe) as root:
        assert root.get("/api/v1/grants").json() == {"grants": [], "pauses": []}
    assert is_blocked(cafe, "news.example", SEAT)


def test_all_that_opens_at_a_seat_is_recorded_in_somebodys_name(cafe: Hedgerow, counter: httpx.Client) -> None:
    take_over(counter, "Ben")
    open_seat(counter, "seat-1", "child")
    first = len(entries(cafe))
    for name, attempt in openings(asked(cafe, SEAT, "news.example")).items():
        if "approval on" in name or "code on" in name or "session on" in name or "for a request" in name:
            continue  # answered by then, or open
        before = len(entries(cafe))
        answer = attempt(counter)
        assert answer.is_success or answer.status_code == 303, (name, answer.text)
        # codes open something once they are typed
        if not name.startswith("code") and name != "end of a pause on a page":
            assert len(entries(cafe)) > before or "end of" in name, name
    assert is_blocked(cafe, "news.example", SEAT) is False
    found = entries(cafe)[first:]
    assert {each["actor"] for each in found} == {"Ben"}
    assert {(each["action"], each["seat"]) for each in found} >= {
        *(("allow", seat) for seat in ("seat-1", "laptop", "regulars-laptop", "lounge", "")),
        *(("pause", seat) for seat in ("seat-1", "")),
        *(("resume", seat) for seat in ("seat-1", "")),
    }
    assert {each["note"] for each in found if each["action"] == "allow"} == {"news.example", "games", "bedtime"}
    counter.post("/api/v1/resume", json={})


def test_a_code_opens_a_seat_in_the_name_of_its_maker(cafe: Hedgerow, counter: httpx.Client) -> None:
    take_over(counter, "Ben")
    open_seat(counter, "seat-1", "child")
    made = counter.post("/api/v1/codes", json={"device": "seat-1", "subject": "news.example"}).json()
    first = len(entries(cafe))
    transport = httpx.HTTPTransport(local_address=SEAT, verify=False)
    with httpx.Client(transport=transport, headers={"Origin": cafe.web}, timeout=60) as guest:
        assert guest.post(f"{cafe.web}/device/code", data={"code": made["digits"]}).status_code == 303
    (entry,) = entries(cafe)[first:]
    assert (entry["actor"], entry["action"], entry["seat"], entry["kind"]) == ("Ben", "allow", "seat-1", "child")
    wait_until(lambda: not is_blocked(cafe, "news.example", SEAT), 30)


@pytest.mark.parametrize(
    "subject", ["adult", "gambling", "bypass", "bets.example", "pornhub.com", "nordvpn", "192.0.2.80"]
)
def test_a_childs_seat_gets_nothing_that_is_kept_from_children(
    cafe: Hedgerow, counter: httpx.Client, subject: str
) -> None:
    """By nobody: not by a lead, not by root, and not by a code."""
    take_over(counter, "Ana")
    open_seat(counter, "seat-1", "child")
    before = entries(cafe)
    with script(cafe) as root:
        for who in (counter, root):
            for seat in ("seat-1", "seat-2", "laptop", *SPELLINGS):
                answer = who.post("/api/v1/grants", json={"device": seat, "subject": subject, "how_long": "today"})
                assert answer.status_code == 422, (seat, answer.text)
                assert "child's seat" in answer.text
            for person in AT_SEATS:
                answer = who.post("/api/v1/grants", json={"person": person, "subject": subject, "how_long": "today"})
                assert answer.status_code == 422, (person, answer.text)
                assert "child's seat" in answer.text
            assert who.post("/api/v1/codes", json={"device": "seat-1", "subject": subject}).status_code == 422
            assert who.post("/api/v1/codes", json={"person": "regular", "subject": subject}).status_code == 422
    sure = counter.post("/grants/new", data={"device": "seat-1", "subject": subject, "for": "today", "sure": "yes"})
    assert "child's seat" in unescape(sure.text)
    assert entries(cafe) == before


def test_what_is_asked_for_at_a_childs_seat_is_not_approved_if_it_is_for_adults(
    cafe: Hedgerow, counter: httpx.Client
) -> None:
    take_over(counter, "Ana")
    open_seat(counter, "seat-1", "child")
    request = asked(cafe, SEAT, "bets.example")
    answer = counter.post(f"/requests/{request}/approve", data={"for": "hour", "sure": "yes"})
    assert answer.status_code == 422
    assert "child's seat" in unescape(answer.text)
    assert counter.post(f"/api/v1/requests/{request}/approve", json={"how_long": "hour"}).status_code == 422
    assert is_blocked(cafe, "bets.example", SEAT)


def test_a_device_that_nobody_has_named_is_a_seat(cafe: Hedgerow, counter: httpx.Client) -> None:
    with script(cafe) as root:
        approvals = [
            call(f"/requests/{asked(cafe, UNNAMED, site)}/approve", how_long="hour")
            for site in ("bets.example", "later.example")
        ]
        for approve in approvals:
            answer = approve(counter)
            assert answer.status_code == 422, answer.text
            assert NOBODY in answer.text
        take_over(counter, "Ana")
        for_adults, for_all = (approve(counter) for approve in approvals)
        assert for_adults.status_code == 422, for_adults.text
        assert "child's seat" in for_adults.text
        assert for_all.is_success, for_all.text
        last = entries(cafe)[-1]
        assert (last["actor"], last["action"], last["seat"], last["note"]) == ("Ana", "allow", UNNAMED, "later.example")
        wait_until(lambda: not is_blocked(cafe, "later.example", UNNAMED), 30)
        assert is_blocked(cafe, "bets.example", UNNAMED)
        for row in root.get("/api/v1/requests").json():
            if row["host"] == "bets.example":
                root.post(f"/api/v1/requests/{row['id']}/deny").raise_for_status()


def test_an_adults_seat_gets_it_as_an_opening_for_an_adult(cafe: Hedgerow, counter: httpx.Client) -> None:
    """Within the limit of the role, and only until the session ends."""
    take_over(counter, "Ben")
    open_seat(counter, "seat-2", "adult")
    wait_until(lambda: is_blocked(cafe, "bets.example", OTHER_SEAT), 30, "an adult's session has rules too")
    report = counter.get("/api/v1/counter/report", params={"person": "Ben"}).json()["adult_sessions"]
    grant = {"device": "seat-2", "subject": "bets.example", "how_long": "today"}
    assert counter.post("/api/v1/grants", json=grant).status_code == 201
    wait_until(lambda: not is_blocked(cafe, "bets.example", OTHER_SEAT), 30)
    last = entries(cafe)[-1]
    assert (last["actor"], last["action"], last["seat"], last["kind"], last["note"]) == (
        *("Ben", "allow-adult", "seat-2", "adult", "bets.example"),
    )
    assert counter.get("/api/v1/counter/report", params={"person": "Ben"}).json()["adult_sessions"] == report + 1
    assert counter.post("/api/v1/grants", json=grant).status_code == 201
    refused = counter.post("/api/v1/grants", json=grant)
    assert "3 sessions for adults" in refused.json()["detail"]
    assert "bets.example" in counter.get("/counter/report").text
    counter.post("/api/v1/sessions/seat-2/end").raise_for_status()
    wait_until(lambda: is_blocked(cafe, "bets.example", OTHER_SEAT), 30)


def test_what_is_opened_for_everybody_stays_closed_at_a_childs_seat(cafe: Hedgerow, counter: httpx.Client) -> None:
    take_over(counter, "Ana")
    open_seat(counter, "seat-1", "child")
    open_seat(counter, "seat-2", "adult")
    made = counter.post("/api/v1/grants", json={"subject": "gambling", "how_long": "today", "sure": True})
    assert made.status_code == 201
    assert entries(cafe)[-1]["action"] == "allow-adult"
    wait_until(lambda: not is_blocked(cafe, "bets.example", OTHER_SEAT), 30)
    assert is_blocked(cafe, "bets.example", SEAT)
    assert is_blocked(cafe, "bets.example", LAPTOP)
    assert is_blocked(cafe, "bets.example", UNNAMED)
    assert counter.delete(f"/api/v1/grants/{made.json()['id']}").status_code == 204


def test_scripts_act_in_their_own_name(cafe: Hedgerow, counter: httpx.Client) -> None:
    with script(cafe) as root:
        open_seat(root, "seat-1", "child")
        assert (
            root.post(
                "/api/v1/grants", json={"device": "seat-1", "subject": "news.example", "how_long": "hour"}
            ).status_code
            == 201
        )
        last = entries(cafe)[-1]
        assert (last["actor"], last["action"]) == ("the command line", "allow")
    done = cafe.run("resume", "seat-1")
    assert done.returncode == 0, done.stderr


def test_an_operator_does_not_change_the_policy_of_a_seat(cafe: Hedgerow, counter: httpx.Client) -> None:
    take_over(counter, "Ana")
    patch = {"seats": {"seat-1": {"allow": ["news.example"]}}}
    assert counter.patch("/api/v1/policy", json=patch).status_code == 403
    assert counter.patch("/api/v1/policy/seats/seat-1", json={"allow": ["news.example"]}).status_code == 403
    for path, fields in (
        ("/openings/always", {"subject": "news.example", "device": "seat-1", "for": "hour"}),
        ("/grants/new", {"subject": "news.example", "person": "nobody", "for": "policy"}),
    ):
        assert counter.post(path, data=fields).status_code == 403, path


def test_a_pause_that_is_lifted_elsewhere_gives_no_minutes_away(cafe: Hedgerow, counter: httpx.Client) -> None:
    """While the counter's pause lasts, the session's time stands still. Other buttons end it too."""
    take_over(counter, "Ana")

    def end() -> float:
        (session,) = [each for each in counter.get("/api/v1/sessions").json() if each["device"] == "seat-1"]
        return float(session["ends"])

    open_seat(counter, "seat-1", "child")
    before = end()
    for path, body in (("/api/v1/resume", {"device": "seat-1"}), ("/api/v1/pause", {"device": "seat-1", "minutes": 5})):
        assert counter.post("/counter/pause", data={"seat": "seat-1"}).status_code == 303
        wait_until(lambda: end() > before + 3000, 30)
        counter.post(path, json=body).raise_for_status()
        wait_until(lambda: end() < before + 600, 30)
    counter.post("/counter/resume", data={"seat": "seat-1"})
    wait_until(
        lambda: before - 1 < end() < before + 600,
        30,
        "a pause that did not let the time stand still takes no minutes away",
    )


def test_a_chore_of_somebody_at_a_seat_is_confirmed_by_somebody_on_duty(cafe: Hedgerow, counter: httpx.Client) -> None:
    transport = httpx.HTTPTransport(local_address="127.0.0.10", verify=False)
    with httpx.Client(transport=transport, headers={"Origin": cafe.web}, timeout=60) as guest:
        assert guest.post(f"{cafe.web}/device/chore", data={"chore": "dishes"}).status_code == 303
    with script(cafe) as root:
        request = next(each["id"] for each in root.get("/api/v1/requests").json() if each["chore"] == "dishes")
    approve = call(f"/requests/{request}/approve", how_long="hour")
    assert NOBODY in approve(counter).text
    take_over(counter, "Ben")
    assert approve(counter).is_success
    last = entries(cafe)[-1]
    assert (last["actor"], last["action"], last["seat"], last["note"]) == ("Ben", "allow", "regulars-laptop", "dishes")


def test_people_who_use_no_seat_need_nobody_on_duty(cafe: Hedgerow, counter: httpx.Client) -> None:
    before = entries(cafe)
    assert counter.post(
        "/api/v1/grants", json={"person": "owner", "subject": "news.example", "how_long": "hour"}
    ).is_success
    assert counter.post("/api/v1/pause", json={"person": "owner", "minutes": 1}).is_success
    assert entries(cafe) == before


def test_the_journal_names_who_approved(cafe: Hedgerow, counter: httpx.Client) -> None:
    take_over(counter, "Ana")
    open_seat(counter, "seat-2", "child")
    request = asked(cafe, OTHER_SEAT, "later.example")
    assert counter.post(f"/requests/{request}/approve", data={"for": "hour"}).status_code == 303
    grants = counter.get("/api/v1/grants").json()["grants"]
    assert [each["actor"] for each in grants if each["device"] == "seat-2"] == ["Ana"]
    assert json.loads(cafe.run("requests", "--json").stdout) == []
