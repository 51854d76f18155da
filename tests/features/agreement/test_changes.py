"""Changes of a child's rules on its page, with the reason that a parent gave."""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select
from web_server import NOW, Web, running_web

from hedgerow.dashboards.control import DeviceView
from hedgerow.features.agreement.changes import KEPT_S, MOST_CHILDREN, SHOWN_S, RuleChanges
from hedgerow.journal.tables import rule_changes, rules_told
from hedgerow.policies.identity import Grade
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import load_policy

HOUSE = """
network: {lan: [127.0.0.0/8], timezone: UTC, country: PT}
people:
  mia: {age: 9, devices: [mia-tablet], budget: 1h, block: [roblox]}
  tom: {age: 15, devices: [tom-phone]}
  Ana: {profile: adult}
devices:
  mia-tablet: {ip: 127.0.0.31}
  tom-phone: {ip: 127.0.0.32}
"""
MIA, TOM = "127.0.0.31", "127.0.0.32"
HOUR_S, DAY_S = 3600.0, 86400.0


class House:
    """The web server of a family, and the part of control that looks for changes."""

    def __init__(self, web: Web) -> None:
        self.web, self.now = web, NOW - 2 * DAY_S
        self.changes = RuleChanges(web.engine, lambda: load_policy(web.policy_path), lambda: self.now)
        self.changes.look()

    def change(self, old: str, new: str) -> None:
        text = self.web.policy_path.read_text()
        assert old in text
        self.web.policy_path.write_text(text.replace(old, new))
        self.changes.look()

    def page(self, path: str, address: str = "127.0.0.1") -> str:
        return unescape(self.browse(path, address).text)

    def browse(self, path: str, address: str = "127.0.0.1", **sent: str) -> httpx.Response:
        transport = httpx.HTTPTransport(local_address=address, verify=False)
        options = {"base_url": self.web.url, "headers": {"origin": self.web.url}}
        with httpx.Client(transport=transport, trust_env=False, timeout=60, **options) as browser:  # type: ignore[arg-type]
            return browser.post(path, data=sent, follow_redirects=True) if sent else browser.get(path)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "hedgerow.yaml").write_text(HOUSE)
    with running_web(tmp_path) as web:
        for address, device, person, profile in (
            (MIA, "mia-tablet", "mia", "child-8-12"),
            (TOM, "tom-phone", "tom", "teen-13-15"),
        ):
            web.control.devices[address] = DeviceView(DeviceId(device), person, profile, grade=Grade.ADDRESS)
        yield House(web)


def test_a_change_is_on_the_childs_page_with_the_reason_and_on_no_other(house: House) -> None:
    assert "From now on" not in house.page("/device", MIA)
    house.change("budget: 1h", "budget: {youtube: 20m}")
    mine = house.page("/device", MIA)
    for words in ("From now on", "YouTube: every day 20 min", "Everything together: no limit"):
        assert words in mine
    for path, address in (("/device", TOM), ("/agreement/tom", "127.0.0.1")):
        assert "From now on" not in house.page(path, address)
    (change,) = house.changes.of_child("mia")
    assert "YouTube: every day 20 min" in house.page("/agreement/mia")
    sent = {"change": str(change.id), "reason": "You slept\nbadly."}
    assert house.browse("/agreement/mia/reason", **sent).status_code == 200
    assert "You slept badly." in house.page("/device", MIA)
    assert house.browse("/agreement/tom/reason", **sent).status_code == 422, "not one of tom's"


@pytest.mark.parametrize("number", ["", "-1", "x", "99", "9" * 20, "²"])
def test_a_reason_for_no_change_is_refused(house: House, number: str) -> None:
    assert house.browse("/agreement/mia/reason", change=number, reason="Because.").status_code == 422


def test_what_is_undone_within_the_hour_is_told_to_nobody(house: House) -> None:
    house.change("budget: 1h", "budget: 2h")
    house.now += HOUR_S / 2
    house.change("budget: 2h", "budget: 3h")
    assert len(house.changes.of_child("mia")) == 1, "one change, of several steps"
    house.change("budget: 3h", "budget: 1h")
    assert house.changes.of_child("mia") == ()


def test_a_later_change_is_one_of_its_own(house: House) -> None:
    house.change("budget: 1h", "budget: 2h")
    house.now += 2 * HOUR_S
    house.change("budget: 2h", "budget: 3h")
    assert len(house.changes.of_child("mia")) == 2
    house.now += SHOWN_S
    assert house.changes.of_child("mia") == ()
    house.changes.prune(house.now + KEPT_S)
    with house.web.engine.connect() as connection:
        assert connection.execute(select(rule_changes)).all() == []


def test_a_rule_that_ends_by_itself_is_a_change(house: House) -> None:
    house.change("block: [roblox]", 'block: [roblox, {what: youtube, until: "2030-01-01"}]')
    house.now += 5 * 365 * DAY_S
    house.changes.look()
    (change,) = house.changes.of_child("mia")
    assert "youtube" in change.before.closed
    assert "youtube" not in change.after.closed


def test_two_machines_tell_a_change_once(house: House) -> None:
    other = RuleChanges(house.web.engine, lambda: load_policy(house.web.policy_path), lambda: house.now)
    house.change("budget: 1h", "budget: 2h")
    other.look()
    assert len(house.changes.of_child("mia")) == 1


def test_a_school_is_told_nothing(house: House) -> None:
    pupils = "\n".join(f"  p{number}: {{age: 9}}" for number in range(MOST_CHILDREN))
    house.change("people:\n", f"people:\n{pupils}\n")
    house.change("budget: 1h", "budget: 2h")
    assert house.changes.of_child("mia") == ()


def test_people_who_left_are_forgotten(house: House) -> None:
    house.change("  tom: {age: 15, devices: [tom-phone]}\n", "")
    house.changes.prune(NOW)
    with house.web.engine.connect() as connection:
        assert [row.person for row in connection.execute(select(rules_told))] == ["mia"]
