"""The guide in another browser: until an adult has a device, the password resumes it anywhere at home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

from hedgerow.policies.reading.load import load_policy

PHONE, SAFARI_PHONE, CHILD, TELEVISION, VISITOR = (f"127.0.0.{number}" for number in (21, 22, 23, 24, 25))
OUTSIDE = "127.9.0.1"
PASSWORD = "four words and more"
ACCOUNT = {"name": "Ana", "password": PASSWORD}
PLACE = {"country": "PT", "zone": "Europe/Lisbon"}
PEOPLE = {"name-0": "Ana", "adult-0": "yes", "name-1": "Mia", "age-1": "9"}


@contextmanager
def browser(house: Hedgerow, address: str, **headers: str) -> Iterator[httpx.Client]:
    """A browser without cookies, which sends forms as one without JavaScript does."""
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    with httpx.Client(
        base_url=house.web, transport=transport, trust_env=False, timeout=60, headers={"origin": house.web} | headers
    ) as client:
        yield client


def leads(client: httpx.Client, path: str = "/") -> str:
    """Return where a page leads a browser, or its status."""
    page = client.get(path)
    return page.headers.get("location", "") or str(page.status_code)


def set_password(house: Hedgerow, address: str) -> None:
    with browser(house, address) as qr_app:
        made = qr_app.post("/start/password", data={**ACCOUNT, "code": house.setup_code})
        assert made.headers["location"] == "/start/place"


def settings(net: SmallInternet) -> str:
    return network_section(net, lan=("127.0.0.0/16", "0.0.0.0/0"))


@pytest.fixture
def house(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(settings(whole_internet)) as running:
        set_password(running, PHONE)
        yield running


def test_the_password_goes_on_at_each_step_in_any_browser(house: Hedgerow) -> None:
    """The QR app, then Safari, a private window, another phone, and a phone with a new address."""
    steps = (("place", PLACE), ("people", PEOPLE))
    for step, form in steps:
        for address in (PHONE, SAFARI_PHONE):
            with browser(house, address) as private:
                for path in ("/", "/people", f"/start/{step}", "/start", "/device/name"):
                    assert leads(private, path) == "/sign-in", path
                assert "the guide goes on" in private.get("/sign-in").text
                assert 'href="/sign-in"' in private.get("/device").text
                assert 'href="/sign-in"' in private.post(f"/start/{step}", data=form).text, "a form of the lost session"
                assert private.post("/sign-in", data=ACCOUNT).headers["location"] == f"/start/{step}"
        with browser(house, SAFARI_PHONE) as safari:
            safari.post("/sign-in", data=ACCOUNT)
            assert safari.post(f"/start/{step}", data=form).status_code == 303
    with browser(house, SAFARI_PHONE) as safari:
        assert safari.post("/sign-in", data=ACCOUNT).headers["location"] == "/start/connect"
        row = {"device-0": SAFARI_PHONE, "person-0": "Ana", "called-0": "Ana phone"}
        assert SAFARI_PHONE in safari.get("/start/devices").text
        assert safari.post("/start/devices", data=row).headers["location"] == "/start/done"
        wait_until(lambda: "Ana phone" in safari.get("/device").text, 30)
    with browser(house, SAFARI_PHONE) as safari:
        assert leads(safari) == "/sign-in"
        assert safari.post("/sign-in", data=ACCOUNT).headers["location"] == "/"
    with browser(house, VISITOR) as visitor:
        assert leads(visitor, "/sign-in") == "403", "an adult has a device now"


def test_a_device_named_as_a_guests_by_mistake_is_no_dead_end(house: Hedgerow) -> None:
    with browser(house, PHONE) as phone:
        phone.post("/sign-in", data=ACCOUNT)
        phone.post("/start/place", data=PLACE)
        phone.post("/start/people", data=PEOPLE)
        named = house.policy_path.read_text() + f"devices:\n  Guest: {{ip: {PHONE}, profile: guest}}\n"
    house.edit_policy(named)
    with browser(house, PHONE) as safari:
        wait_until(lambda: "Guest" in safari.get("/device").text, 30)
        assert leads(safari, "/people") == "/sign-in"
        assert safari.post("/sign-in", data=ACCOUNT).headers["location"] == "/start/connect"
        assert 'value="Guest"' in safari.get("/start/devices").text
        safari.post("/start/devices", data={"device-0": "Guest", "person-0": "Ana", "called-0": "Ana phone"})
    assert load_policy(house.policy_path).devices["Guest"].person == "Ana"
    with browser(house, PHONE) as safari:
        wait_until(lambda: safari.get("/people").status_code == 303, 30)


def test_a_child_a_stranger_and_a_guess_get_nowhere(house: Hedgerow) -> None:
    children = f"""people:
  Mia: {{age: 9, devices: [mia-tablet, television, {CHILD}]}}
  Tom: {{age: 15, devices: [television]}}
devices:
  mia-tablet: {{ip: 127.0.0.31}}
  sofa-tablet: {{ip: 127.0.0.32, profile: child-8-12}}
  television: {{ip: {TELEVISION}}}
"""
    house.edit_policy(house.policy_path.read_text() + children)
    with browser(house, CHILD) as child:
        wait_until(lambda: "Mia" in child.get("/device").text, 30)
    for address in (CHILD, "127.0.0.31", "127.0.0.32", TELEVISION, OUTSIDE):
        with browser(house, address) as client:
            assert [client.get(path).status_code for path in ("/sign-in", "/people", "/start/people")] == [403] * 3
            assert client.post("/sign-in", data=ACCOUNT).status_code == 403, address
    for header in ("via", "forwarded", "x-forwarded-for", "x-real-ip"):
        with browser(house, VISITOR, **{header: "203.0.113.9"}) as client:
            assert client.post("/sign-in", data=ACCOUNT).status_code == 403, "through a proxy from anywhere"
    with browser(house, VISITOR) as guesser, browser(house, PHONE) as parent:
        tries = [
            guesser.post("/sign-in", data=ACCOUNT | {"password": f"guess {number}"}).status_code for number in range(8)
        ]
        assert tries == [403] * 5 + [429] * 3
        assert guesser.post("/sign-in", data=ACCOUNT).status_code == 429
        assert parent.post("/sign-in", data=ACCOUNT).headers["location"] == "/start/connect", "nobody is locked out"


def test_a_restart_changes_nothing(whole_internet: SmallInternet, tmp_path: Path) -> None:
    policy = settings(whole_internet)
    with running_hedgerow(policy, directory=tmp_path) as running:
        set_password(running, PHONE)
    with running_hedgerow(policy, directory=tmp_path) as running, browser(running, SAFARI_PHONE) as safari:
        assert leads(safari) == "/sign-in"
        assert safari.post("/sign-in", data=ACCOUNT).headers["location"] == "/start/place"


def test_guests_of_a_cafe_are_no_parents(whole_internet: SmallInternet) -> None:
    seats = "seats:\n  seat-1: {ip: 127.0.0.41}\n"
    with running_hedgerow(settings(whole_internet) + seats) as running:
        set_password(running, "127.0.0.1")
        for address in (VISITOR, "127.0.0.41"):
            with browser(running, address) as guest:
                assert leads(guest, "/sign-in") == "403"
