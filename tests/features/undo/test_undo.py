"""Undo by the button of a page, as DNS and budgets of a running Hedgerow and the journal of a web server show it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import kdig_addresses
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until
from web_server import NOW, Web, running_web
from web_server.walking import PageReader

from hedgerow.journal.usage import UsageStore
from hedgerow.policies.time_model import Bonus

TABLET, PHONE, PATIENCE = "127.0.0.2", "127.0.0.3", 30.0
GAME, OTHER = "www.netflix.com", "news.example"
PEOPLE = """
people:
  mia: {{age: 9, devices: [tablet], allow: [netflix], budget: 2h}}
  tom: {{age: 9, devices: [phone], bedtime: "{bedtime}"}}
devices:
  tablet: {{ip: 127.0.0.2}}
  phone: {{ip: 127.0.0.3}}
"""
CHANGED = "This has been changed since, so nothing was undone."


def bedtime_now() -> str:
    """Return a bedtime of two hours that began ten minutes ago."""
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=10)
    return f"{begins:%H:%M}-{begins + datetime.timedelta(hours=2):%H:%M}"


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    policy = network_section(whole_internet) + PEOPLE.format(bedtime=bedtime_now())
    with running_hedgerow(policy) as running:
        yield running


class Parent:
    """A parent's browser, which follows the button *Undo* of the page that says what was done."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.undo_form: tuple[str, dict[str, str]] = "", {}
        self.is_offered = False

    def press(self, path: str, **form: str) -> str:
        """Send a form, and return what the page then says."""
        answer = self.client.post(path, data=form, follow_redirects=True)
        assert answer.status_code == 200, answer.text[:2000]
        said = answer.text.partition('data-done="')[2]
        undo = next((each for each in PageReader(answer.text).forms if each.action.endswith("/undo")), None)
        self.is_offered = undo is not None
        if undo is not None:
            self.undo_form = undo.action, {field.name: field.value for field in undo.fields if field.name}
        return said.partition('"')[0]

    def undo(self) -> str:
        path, fields = self.undo_form
        return self.press(path, **fields)

    def undo_again(self) -> str:
        """Undo what was undone already, and return the refusal."""
        path, fields = self.undo_form
        answer = self.client.post(path, data=fields)
        assert answer.status_code == 422
        page = PageReader(answer.text)
        assert "/" in page.links
        return page.text

    def get(self, path: str) -> Any:
        return self.client.get(f"/api/v1{path}").json()


@pytest.fixture
def parent(house: Hedgerow) -> Iterator[Parent]:
    with httpx.Client(
        base_url=house.web,
        trust_env=False,
        timeout=60,
        headers={"origin": house.web},
        cookies=house.cookies,
        verify=False,
    ) as client:
        yield Parent(client)


def await_open(house: Hedgerow, **wanted: bool) -> None:
    """Wait until the tablet reaches what it should, and nothing else: `game` and `other`."""

    def is_so() -> bool:
        found = {name: kdig_addresses(house.dns, host, source=TABLET) != ["0.0.0.0"] for name, host in names.items()}
        return found == wanted

    names = {"game": GAME, "other": OTHER}
    wait_until(is_so, PATIENCE, f"open: {wanted}")


@pytest.mark.parametrize("whose", [{"person": "mia"}, {"device": "tablet"}, {}], ids=["person", "device", "everybody"])
def test_a_pause_that_is_undone_leaves_the_homework_of_before(
    house: Hedgerow, parent: Parent, whose: dict[str, str]
) -> None:
    parent.press("/pause", **whose, kind="homework", minutes="60")
    await_open(house, game=False, other=True)
    ends = [pause["ends"] for pause in parent.get("/grants")["pauses"]]
    parent.press("/pause", **whose)
    await_open(house, game=False, other=False)
    assert "Homework for " in parent.undo()
    await_open(house, game=False, other=True)
    (pause,) = parent.get("/grants")["pauses"]
    assert ([pause["ends"]], pause["kind"]) == (ends, "homework")
    assert CHANGED in parent.undo_again()
    parent.press("/resume", **whose)
    await_open(house, game=True, other=True)
    assert "Homework for " in parent.undo(), "the end of a pause can be undone too"
    await_open(house, game=False, other=True)
    (pause,) = parent.get("/grants")["pauses"]
    assert [pause["ends"]] == ends
    assert CHANGED in parent.undo_again()
    parent.press("/resume", **whose)


def test_a_pause_that_replaced_nothing_is_over(house: Hedgerow, parent: Parent) -> None:
    assert parent.press("/pause", person="mia", minutes="30").startswith("mia is paused until ")
    await_open(house, game=False, other=False)
    assert parent.undo() == "mia is paused no longer."
    await_open(house, game=True, other=True)
    assert CHANGED in parent.undo_again()


def test_a_pause_that_somebody_replaced_is_not_undone(house: Hedgerow, parent: Parent) -> None:
    other = Parent(parent.client)
    parent.press("/pause", person="mia", minutes="30")
    other.press("/pause", person="mia", kind="homework")
    assert CHANGED in parent.undo_again()
    await_open(house, game=False, other=True)
    other.press("/resume", person="mia")


def test_a_pause_for_everybody_spares_the_same_people_again(house: Hedgerow, parent: Parent) -> None:
    script = {"everybody": True, "except_person": "mia", "minutes": 60}
    parent.client.post("/api/v1/pause", json=script).raise_for_status()
    parent.press("/pause")
    await_open(house, game=False, other=False)
    parent.undo()
    await_open(house, game=True, other=True)
    (pause,) = parent.get("/grants")["pauses"]
    assert pause["spared_person"] == "mia"
    parent.press("/resume")


def minutes_of(parent: Parent) -> float:
    return next(float(row["limit"]) for row in parent.get("/budgets") if row["whose"] == "mia")


def test_extra_minutes_are_taken_back_once(house: Hedgerow, parent: Parent) -> None:
    before = minutes_of(parent)
    parent.press("/bonus", name="mia", minutes="10")
    parent.press("/bonus", name="mia", minutes="15")
    assert minutes_of(parent) == before + 25
    assert parent.undo() == "The 15 more minutes for mia are taken back."
    assert minutes_of(parent) == before + 10
    assert CHANGED in parent.undo_again()
    assert minutes_of(parent) == before + 10


def test_a_second_later_bedtime_that_is_undone_leaves_the_first(house: Hedgerow, parent: Parent) -> None:
    def is_open() -> bool:
        return kdig_addresses(house.dns, OTHER, source=PHONE) != ["0.0.0.0"]

    def end() -> float:
        (grant,) = parent.get("/grants")["grants"]
        return float(grant["ends"])

    wait_until(lambda: not is_open(), PATIENCE)
    parent.press("/bedtime/later", person="tom", minutes="30")
    first, once = end(), parent.undo_form
    parent.press("/bedtime/later", person="tom", minutes="30")
    assert end() > first
    assert "open until" in parent.undo()
    assert end() == first
    wait_until(is_open, PATIENCE)
    assert parent.press(once[0]) == "The later bedtime is taken back.", "the first can be undone as before"
    wait_until(lambda: not is_open(), PATIENCE)


CLOSED = """
network: {lan: [127.0.0.0/8], timezone: UTC, country: PT}
people:
  mia: {age: 9, devices: [tablet]}
devices:
  tablet: {ip: 127.0.0.31}
"""
CAFE = "network: {lan: [127.0.0.0/8], country: PT}\nseats: {pc-1: {ip: 127.0.0.8}}"
DAY_S = 86400.0


@dataclass
class Home:
    """A home without rules in force, at a time that the test sets."""

    path: Path
    now: float = NOW

    def pauses(self, web: Web) -> set[tuple[str, float | None]]:
        return {(pause.note, pause.ends) for pause in web.control.reader.pauses(self.now)}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "hedgerow.yaml").write_text(CLOSED)
    return Home(tmp_path)


@pytest.fixture
def web(home: Home) -> Iterator[Web]:
    with running_web(home.path, clock=lambda: home.now) as running:
        yield running


@pytest.fixture
def browser(web: Web) -> Iterator[Parent]:
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60, headers={"origin": web.url}) as client:
        yield Parent(client)


def test_the_end_of_a_pause_is_undone_for_ten_minutes_and_only_the_last_one(
    home: Home, web: Web, browser: Parent
) -> None:
    home.now = NOW - 30 * DAY_S
    browser.press("/pause", person="mia")
    browser.press("/resume", person="mia")
    assert browser.is_offered
    home.now = NOW
    assert "ten minutes" in browser.undo_again()
    browser.press("/pause", person="mia", minutes="5")
    browser.press("/resume", person="mia")
    assert browser.is_offered
    home.now += 301
    assert CHANGED in browser.undo_again(), "it would be over by now"
    assert home.pauses(web) == set(), "the one of last month stays ended"
    browser.press("/pause", person="mia")
    browser.press("/pause", person="mia", minutes="5")
    home.now += 301
    browser.press("/resume", person="mia")
    assert not browser.is_offered, "it had run out"
    assert CHANGED in browser.undo_again()
    assert home.pauses(web) == set()


def test_a_pause_is_undone_for_ten_minutes(home: Home, web: Web, browser: Parent) -> None:
    browser.press("/pause", person="mia")
    home.now += 601
    assert "ten minutes" in browser.undo_again()
    assert home.pauses(web) == {("", None)}


def test_undo_brings_back_a_quiet_hour_and_a_childs_own_pause(home: Home, web: Web, browser: Parent) -> None:
    browser.press("/pause", person="mia")
    browser.press("/quiet-hour", minutes="60")
    both = {("", None), ("quiet-hour", NOW + 3600)}
    assert home.pauses(web) == both
    browser.press("/resume", person="mia")
    assert (home.pauses(web), browser.get("/quiet-hour")) == (set(), None)
    assert browser.undo() == "mia is paused."
    assert (home.pauses(web), browser.get("/quiet-hour")["people"]) == (both, ["mia"])
    home.now += 1
    browser.press("/pause", person="mia", minutes="10")
    assert browser.undo() == "mia is paused."
    assert home.pauses(web) == both, "the pause had replaced both"
    browser.press("/quiet-hour/end")
    assert home.pauses(web) == {("", None)}


def test_undo_of_a_pause_leaves_a_quiet_hour_that_began_later(home: Home, web: Web, browser: Parent) -> None:
    browser.press("/pause", person="mia")
    undo = browser.undo_form
    home.now += 1
    browser.press("/quiet-hour", minutes="60")
    browser.undo_form = undo
    browser.undo()
    assert home.pauses(web) == {("quiet-hour", NOW + 3601)}


def test_nothing_is_undone_where_there_are_seats(home: Home, web: Web, browser: Parent) -> None:
    web.policy_path.write_text(CAFE)
    refused = "where there are seats, this is changed at the counter"
    browser.press("/pause", device="pc-1")
    assert not browser.is_offered
    (pause,) = web.control.reader.pauses(NOW)
    usage = UsageStore(web.engine, clock=lambda: NOW)
    usage.give(Bonus("given", "device:pc-1", "", 15, "ana", NOW))
    for path, fields in (
        (f"/pauses/{pause.id}/undo", {}),
        ("/resume/undo", {"device": "pc-1"}),
        ("/bonuses/given/undo", {}),
        ("/bedtime/given/undo", {}),
    ):
        browser.undo_form = path, fields
        assert refused in browser.undo_again()
    assert web.control.reader.pauses(NOW) == (pause,)
    browser.press("/resume", device="pc-1")
    assert not browser.is_offered
    browser.undo_form = "/resume/undo", {"device": "pc-1"}
    assert refused in browser.undo_again()
    assert (home.pauses(web), [each.minutes for each in usage.bonuses(NOW - 1)]) == (set(), [15])
