"""Undo by the button of a page, as DNS and budgets of a running Hedgerow show it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import kdig_addresses
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until
from web_server.walking import PageReader

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

    def press(self, path: str, **form: str) -> str:
        """Send a form, and return what the page then says."""
        answer = self.client.post(path, data=form, follow_redirects=True)
        assert answer.status_code == 200, answer.text[:2000]
        said = answer.text.partition('data-done="')[2]
        undo = next((each for each in PageReader(answer.text).forms if each.action.endswith("/undo")), None)
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
    parent.undo_form = once
    answer = parent.client.post(once[0])
    assert answer.status_code in (404, 422), "another one holds in its place"
    (grant,) = parent.get("/grants")["grants"]
    assert parent.press(f"/bedtime/{grant['id']}/undo") == "The permission is over."
    wait_until(lambda: not is_open(), PATIENCE)
