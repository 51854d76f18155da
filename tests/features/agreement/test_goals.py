"""Goals of teenagers, which nobody else sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select
from web_server import NOW, TOKEN, Web, running_web
from web_server.household import PAGES

from hedgerow.dashboards.control import DeviceView
from hedgerow.features.agreement.goals import MOST_GOALS, Goals
from hedgerow.journal.personal_data import DataSubject, PersonalDataStore
from hedgerow.journal.tables import goals
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.identity import Grade
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.time_model import ActiveMinute

HOUSE = """
network: {lan: [127.0.0.0/8], timezone: UTC, country: PT}
people:
  mia: {age: 9, devices: [mia-tablet]}
  tom: {age: 15, devices: [tom-phone], budget: {youtube: 2h}}
  ben: {age: 13, devices: [ben-phone], privacy: none}
  Ana: {profile: adult}
devices:
  mia-tablet: {ip: 127.0.0.31}
  tom-phone: {ip: 127.0.0.32}
  ben-phone: {ip: 127.0.0.34}
"""
MIA, TOM, BEN, PARENT = "127.0.0.31", "127.0.0.32", "127.0.0.34", "127.0.0.1"
SECRET = "04:44–05:55"
MIDNIGHT = datetime.fromtimestamp(NOW, UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "hedgerow.yaml").write_text(HOUSE)
    with running_web(tmp_path) as running:
        policy = parse_policy(HOUSE.encode(), None)
        for address, name in ((MIA, "mia-tablet"), (TOM, "tom-phone"), (BEN, "ben-phone")):
            device = policy.devices[DeviceId(name)]
            running.control.devices[address] = DeviceView(device.id, device.person, device.profile, grade=Grade.ADDRESS)
        yield running


def _browser(web: Web, address: str) -> httpx.Client:
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    sent = {"origin": web.url}
    return httpx.Client(base_url=web.url, transport=transport, trust_env=False, timeout=60, headers=sent)


def _page(web: Web, address: str = TOM, path: str = "/device") -> str:
    with _browser(web, address) as browser:
        return unescape(browser.get(path).text)


def _set(web: Web, what: str, address: str = TOM, **sent: str) -> httpx.Response:
    with _browser(web, address) as browser:
        return browser.post(f"/device/goals/{what}", data=sent, follow_redirects=True)


def _count(web: Web) -> int:
    with web.engine.connect() as connection:
        return len(connection.execute(select(goals)).all())


def test_minutes_of_today_are_compared_and_nothing_is_closed(web: Web) -> None:
    _set(web, "minutes", subject="service:youtube", minutes="3")
    usage = UsageStore(web.engine)
    usage.add(ActiveMinute(int(MIDNIGHT // 60) + minute, "person:tom", "service:youtube") for minute in (-1, 0, 61))
    mine = _page(web)
    assert "2 of 3 minutes used" in mine
    assert "You have reached your own goal" not in mine
    usage.add([ActiveMinute(int(MIDNIGHT // 60) + 62, "person:tom", "service:youtube")])
    assert "You have reached your own goal for today." in _page(web)


@pytest.mark.parametrize(("starts", "ends", "is_now"), [("00:00", "23:59", True), ("23:58", "23:59", False)])
def test_a_quiet_time_reminds_while_it_is(web: Web, starts: str, ends: str, is_now: bool) -> None:
    _set(web, "quiet", starts=starts, ends=ends)
    assert ("It is your own quiet time now." in _page(web)) == is_now
    assert f"{starts}–{ends}" in _page(web)


def test_nobody_else_sees_a_goal(web: Web) -> None:
    """On pages, in the API, in a parent's export, in sums of an erasure, and on a brother's page."""
    _set(web, "quiet", starts="04:44", ends="05:55")
    assert SECRET in _page(web)
    with _browser(web, PARENT) as parent:
        for path in {*PAGES, "/people/ben", "/people/tom", "/agreement/tom", "/agreement/ben"}:
            if "mia-tablet" not in path:
                assert SECRET not in unescape(parent.get(path).text), path
        exported = parent.get("/people/tom/kept").text
        assert '"kept": "goals"' not in exported
        head = {"authorization": f"Bearer {TOKEN}"}
        paths = json.loads(parent.get("/api/v1/openapi.json", headers=head).text)["paths"]
        assert not [path for path in paths if "goal" in path]
    for address in (MIA, BEN):
        assert SECRET not in _page(web, address)
    assert '"kept": "goals"' in _page(web, path="/device/kept"), "its own export has it"
    assert '"kept": "goals"' not in _page(web, BEN, "/device/kept")
    erased = PersonalDataStore(web.engine).erase(DataSubject("tom", frozenset({"tom-phone"})), NOW, frozenset())
    assert "goals" not in erased.rows
    assert _count(web) == 0


def test_a_younger_child_and_an_unsure_device_have_none(web: Web) -> None:
    assert "My own goals" not in _page(web, MIA)
    assert _set(web, "minutes", MIA, subject="", minutes="30").status_code == 422
    assert _set(web, "minutes", PARENT, subject="", minutes="30").status_code in (403, 422)
    view = web.control.devices[TOM]
    assert view is not None
    web.control.devices[TOM] = DeviceView(view.device, "tom", view.profile, grade=Grade.HOST_NAME)
    assert "My own goals" not in _page(web)
    assert _set(web, "quiet", starts="20:00", ends="21:00").status_code == 422
    assert _count(web) == 0


@pytest.mark.parametrize("minutes", ["", "0", "-5", "601", "1e2", "x", "٣٠", "9" * 99])
def test_made_up_minutes_are_refused(web: Web, minutes: str) -> None:
    answer = _set(web, "minutes", subject="", minutes=minutes)
    assert answer.status_code == 422
    assert "Choose a number of minutes from 1 to 600." in unescape(answer.text)
    assert _count(web) == 0


@pytest.mark.parametrize(
    ("starts", "ends"), [("", ""), ("20:00", "20:00"), ("25:00", "26:00"), ("20", "21"), ("00:00", "24:00")]
)
def test_made_up_times_are_refused(web: Web, starts: str, ends: str) -> None:
    answer = _set(web, "quiet", starts=starts, ends=ends)
    assert answer.status_code == 422
    assert "Enter a beginning and an end" in unescape(answer.text)
    assert _count(web) == 0


def test_a_goal_counts_only_what_is_counted_anyway(web: Web) -> None:
    for subject in ("service:tiktok", "category:adult", "x"):
        assert _set(web, "minutes", subject=subject, minutes="30").status_code == 422
    assert _set(web, "minutes", BEN, subject="", minutes="30").status_code == 422, "nothing is counted for ben"
    assert _set(web, "minutes", subject="category:social", minutes="30").status_code == 200


def test_goals_are_few_and_are_removed_by_their_person_only(web: Web) -> None:
    for _ in range(MOST_GOALS):
        assert _set(web, "minutes", subject="", minutes="30").status_code == 200
    answer = _set(web, "minutes", subject="", minutes="30")
    assert "You can have 5 goals. Remove one first." in unescape(answer.text)
    for goal in ("1", "x", "", "9" * 30):
        _set(web, "remove", BEN, goal=goal)
    assert _count(web) == MOST_GOALS
    assert _set(web, "remove", goal="1").status_code == 200
    assert _set(web, "remove", goal="1").status_code == 200, "twice is once"
    assert _count(web) == MOST_GOALS - 1


def test_goals_of_people_who_left_are_deleted(web: Web) -> None:
    _set(web, "minutes", subject="", minutes="30")
    store = Goals(web.engine, lambda: NOW)
    store.prune(parse_policy(HOUSE.encode(), None))
    assert _count(web) == 1
    store.prune(parse_policy(b"", None))
    assert _count(web) == 0
