"""What parent and child read before a profile changes, and what they can do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import httpx
import pytest
from web_server import NOW, Web, running_web

from hedgerow.dashboards.control import DeviceView
from hedgerow.features.growing_up.keeper import GrowthKeeper
from hedgerow.features.growing_up.stages import GrowthStage
from hedgerow.policies.growth_steps import ProfileStep
from hedgerow.policies.identity import Grade
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import load_policy, parse_policy
from hedgerow.seen_time import DAY_S

HOUSE = """
network: {lan: [127.0.0.0/8], timezone: UTC, country: PT}
people:
  mia: {born: 2013-06, devices: [mia-tablet]}
  tom: {age: 15, devices: [tom-phone]}
devices:
  mia-tablet: {ip: 127.0.0.31}
  tom-phone: {ip: 127.0.0.32}
"""
BIRTHDAY = datetime(2026, 6, 1, tzinfo=UTC).timestamp()


async def _at_once() -> None:
    """Wait for nothing."""


def _keeper(web: Web, erased: list[str], now: float = NOW) -> GrowthKeeper:
    policy = load_policy(web.policy_path)
    return GrowthKeeper(web.engine, lambda: policy, erased.append, _at_once, lambda: now)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "hedgerow.yaml").write_text(HOUSE)
    with running_web(tmp_path) as web:
        for address, device, person in (("127.0.0.31", "mia-tablet", "mia"), ("127.0.0.32", "tom-phone", "tom")):
            web.control.devices[address] = DeviceView(DeviceId(device), person, "child-8-12", grade=Grade.ADDRESS)
        yield web


def _browser(web: Web, address: str = "127.0.0.1") -> httpx.Client:
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    return httpx.Client(base_url=web.url, transport=transport, trust_env=False, timeout=60, headers={"origin": web.url})


def _announce(web: Web) -> None:
    """Let keepers look once a day, from before the announcement on, when mia was twelve."""
    found = []
    day = BIRTHDAY - 40 * DAY_S
    while day < NOW:
        found.append(_keeper(web, [], day + 60).look())
        day += DAY_S
    assert found.count(True) == 1, "announced once"


def test_both_sides_read_what_will_be_different_and_the_child_can_wait(house: Web) -> None:
    _announce(house)
    with _browser(house) as parent, _browser(house, "127.0.0.31") as child, _browser(house, "127.0.0.32") as brother:
        for page in ("/", "/people/mia"):
            text = unescape(parent.get(page).text)
            assert "mia grows up: other rules from" in text, page
            assert "Open from then on:" in text
        assert "grows up" not in parent.get("/people/tom").text
        mine = unescape(child.get("/device").text)
        assert "You are getting older: new rules from" in mine
        assert "Open for you then:" in mine
        assert "getting older" not in brother.get("/device").text
        assert child.post("/device/growing/wait").status_code == 303
        assert brother.post("/device/growing/wait").status_code == 422
    stage = _keeper(house, []).stage("mia")
    assert stage is not None
    assert (stage.profile, stage.takes_effect) == ("child-8-12", BIRTHDAY + 30 * DAY_S)


def test_a_parent_can_wait_or_change_at_once(house: Web) -> None:
    _announce(house)
    with _browser(house) as parent:
        assert parent.post("/people/mia/growing/wait").status_code == 303
        assert parent.post("/people/mia/growing/now").status_code == 303
        assert parent.post("/people/mia/growing/now").status_code == 422, "nothing is announced any more"
        assert parent.post("/people/tom/growing/wait").status_code == 422
    stage = _keeper(house, []).stage("mia")
    assert stage is not None
    assert (stage.profile, stage.announced) == ("teen-13-15", "")


def test_what_was_recorded_about_a_new_adult_is_offered_and_then_erased(house: Web) -> None:
    keeper, erased = _keeper(house, []), list[str]()
    keeper._kept.replace(GrowthStage("mia", "2013-06", "adult", erased_at=NOW + DAY_S))
    with _browser(house) as parent, _browser(house, "127.0.0.31") as child:
        assert "mia is an adult" in parent.get("/people/mia").text
        assert "You are an adult now" in child.get("/device").text
    _keeper(house, erased).look()
    assert erased == []
    _keeper(house, erased, NOW + 2 * DAY_S).look()
    _keeper(house, erased, NOW + 3 * DAY_S).look()
    assert erased == ["mia"]


def test_a_clock_ten_years_ahead_erases_nothing_and_changes_no_profile(house: Web) -> None:
    policy, erased, clock = load_policy(house.policy_path), list[str](), [NOW, 1000.0]
    keeper = GrowthKeeper(
        house.engine, lambda: policy, erased.append, _at_once, lambda: clock[0], uptime=lambda: clock[1]
    )
    keeper._kept.replace(
        GrowthStage("mia", "2013-06", "adult", erased_at=NOW + 20 * DAY_S, unseen=20 * DAY_S, seen_at=NOW)
    )
    keeper.look()
    clock[0] += 3650 * DAY_S
    for minutes in (1, 30, 60, 600):
        clock[0], clock[1] = clock[0] + 60 * minutes, clock[1] + 60 * minutes
        keeper.look()
    assert erased == []
    restarted = GrowthKeeper(house.engine, lambda: policy, erased.append, _at_once, lambda: clock[0], lambda: 5.0)
    restarted.look()
    stage = restarted.stage("mia")
    assert erased == []
    assert stage is not None
    assert 19 * DAY_S < stage.unseen < 20 * DAY_S, "what has passed is still known after a restart"


def test_after_a_damage_of_the_journal_the_last_rules_go_on(house: Web) -> None:
    policy = load_policy(house.policy_path)
    steps = (ProfileStep(NOW + DAY_S, "teen-13-15"),)
    last = replace(policy, people={"mia": replace(policy.people["mia"], profile="child-8-12", steps=steps)})
    keeper = _keeper(house, [])
    keeper.recall(last)
    growth = keeper.growth(policy)["mia"]
    assert (growth.profile, growth.steps) == ("child-8-12", steps)
    steps = (ProfileStep(NOW + 3 * DAY_S, "teen-13-15", is_certain=False),)
    keeper = _keeper(house, [])
    keeper.recall(replace(last, people={"mia": replace(last.people["mia"], steps=steps)}))
    (step,) = keeper.growth(policy)["mia"].steps
    assert step.at > NOW + 29 * DAY_S, "how long it was announced is not known"


def test_another_month_of_birth_is_a_decision_of_its_own(house: Web) -> None:
    _announce(house)
    other = parse_policy(HOUSE.replace("2013-06", "2011-01").encode(), None)
    assert _keeper(house, []).growth(other)["mia"].profile == "teen-13-15"


def test_both_sides_read_what_a_law_will_close_and_a_brother_does_not(tmp_path: Path) -> None:
    """NOW is 28 May 2026, and the law of Malaysia commences on 1 June."""
    people = """
network: {lan: [127.0.0.0/8], timezone: UTC, country: MY, follow_law: true}
people:
  mia: {age: 15, allow: [social], devices: [mia-tablet]}
  tom: {age: 17, devices: [tom-phone]}
devices: {mia-tablet: {ip: 127.0.0.31}, tom-phone: {ip: 127.0.0.32}}
"""
    (tmp_path / "hedgerow.yaml").write_text(people)
    with running_web(tmp_path) as web:
        for address, device, person in (("127.0.0.31", "mia-tablet", "mia"), ("127.0.0.32", "tom-phone", "tom")):
            web.control.devices[address] = DeviceView(DeviceId(device), person, "teen-13-15", grade=Grade.ADDRESS)
        policy = parse_policy(people.encode(), None)
        keeper = GrowthKeeper(web.engine, lambda: policy, str, _at_once, lambda: NOW, uptime=lambda: 0.0)
        keeper.look()
        with _browser(web) as parent, _browser(web, "127.0.0.31") as child, _browser(web, "127.0.0.32") as brother:
            for page in ("/", "/people/mia"):
                text = unescape(parent.get(page).text)
                assert "The law changes what is open to mia from" in text, page
                assert "Online Safety Act 2025" in text
            assert "The law changes what is open for you from" in unescape(child.get("/device").text)
            assert "The law changes" not in brother.get("/device").text
            assert "The law changes" not in parent.get("/people/tom").text
