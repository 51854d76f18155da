"""Answers to requests: how much a permission or a code opens, and where it is judged."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hedgerow.app.control.access_rule import AccessChange
from hedgerow.app.control.codes import CodeService
from hedgerow.app.control.web import WebControl
from hedgerow.app.snapshot import LoadedSnapshot, Snapshot
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import Source
from hedgerow.dashboards.actions.orders import CodeOrder
from hedgerow.dashboards.control import DangerousOpening, InvalidInput
from hedgerow.dashboards.edits.rules import allow_edits
from hedgerow.journal.reader import RequestRow
from hedgerow.policies.access_subject import AccessSubject
from hedgerow.policies.model import DeviceId, GrantDuration
from hedgerow.policies.reading.load import parse_policy

POLICY = b"""
people:
  sam: {age: 12, devices: [phone, laptop, lounge]}
  kim: {age: 13, devices: [lounge]}
devices:
  phone: {ip: 192.168.1.9}
  laptop: {ip: 192.168.1.10}
  lounge: {ip: 192.168.1.11, profile: seat-child}
  kim: {ip: 192.168.1.12, profile: adult}
"""


def _row(id: int, device: str, host: str) -> RequestRow:
    return RequestRow(id, 0.0, 0.0, 1, DeviceId(device), "sam", host, "", "service: tiktok", "", "open")


ROWS = {1: _row(1, "phone", "www.tiktok.com"), 2: _row(2, "laptop", "v16.tiktokcdn.com")}


@dataclass
class Home:
    """A home with two open requests for one app, and what became of them."""

    control: WebControl
    codes: CodeService
    judged: list[AccessChange | None] = field(default_factory=list)
    answered: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "list").write_text("games.example\n")
    (tmp_path / "bets").write_text("bets.example\n")
    sources = [Source("list", "games", tmp_path / "list"), Source("bets", "gambling", tmp_path / "bets")]
    compile_generation(sources, tmp_path / "generation")
    policy = parse_policy(POLICY, None)

    async def nothing() -> None:
        pass

    async def check(wanted: AccessChange | None) -> None:
        made.judged.append(wanted)

    async def change(wanted: AccessChange | None, write: Any) -> None:
        made.judged.append(wanted)
        write()

    def approve(id: int, grant: Any, *, also: list[int]) -> None:
        made.answered.append((grant.subject, (id, *also)))

    def give(grant: Any) -> None:
        made.answered.append((grant.subject, ()))

    publisher = SimpleNamespace(
        view=LoadedSnapshot(Snapshot(1, 0.0, policy, tmp_path / "generation")),
        policy=policy,
        ledger=SimpleNamespace(request=ROWS.get, approve=approve, give=give),
        reader=SimpleNamespace(requests=lambda: tuple(ROWS.values())),
        put_in_force=nothing,
    )
    rule = SimpleNamespace(check=check, change=change)
    store = SimpleNamespace(match=lambda _digits: (), add=lambda *_: None)
    neighbours = SimpleNamespace(mac_of=lambda _address: None, entries=dict)
    parts = cast(Any, (None, publisher, None, None, neighbours, None, lambda: rule))
    control = WebControl(*parts)
    made = Home(control, CodeService(*cast(Any, (publisher, control, None, None, store, lambda: rule))))
    return made


def test_an_approval_for_a_person_is_judged_at_the_seat_that_the_person_uses(home: Home) -> None:
    """It opens the app there too, although it was asked from elsewhere."""
    asyncio.run(home.control.approve(1, GrantDuration.HOUR, "ana"))
    assert home.answered == [("tiktok", (1, 2))]
    (wanted,) = home.judged
    assert wanted is not None
    assert wanted.device is not None
    assert (wanted.device.id, wanted.person) == ("lounge", "sam")


@pytest.mark.parametrize("host", ["com.au", "co.uk", "github.io", "s3.amazonaws.com", "in-addr.arpa"])
def test_no_permission_opens_all_sites_beneath_a_public_suffix(
    home: Home, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """All of them are closed during a pause, so a child can ask for any."""
    monkeypatch.setitem(ROWS, 3, replace(_row(3, "phone", host), reason="pause"))
    for only_address in (False, True):
        with pytest.raises(InvalidInput, match="name the site itself"):
            asyncio.run(home.control.approve(3, GrantDuration.HOUR, "ana", only_address=only_address))
    with pytest.raises(InvalidInput, match="name the site itself"):
        asyncio.run(home.control.give(AccessSubject(host, "sam"), "ana", ends=None))
    opening = AccessSubject(host, "sam")
    with pytest.raises(InvalidInput, match="Name the site itself"):
        allow_edits(home.control.policy(), opening)
    assert (home.answered, home.judged) == ([], [])


@pytest.mark.parametrize(("only_address", "answered"), [(False, ("tiktok", (1, 2))), (True, ("www.tiktok.com", (1,)))])
def test_a_code_for_a_request_opens_no_more_than_was_chosen(
    home: Home, only_address: bool, answered: tuple[str, tuple[int, ...]]
) -> None:
    made = asyncio.run(home.codes.make(CodeOrder(request=1, only_address=only_address), "ana"))
    asyncio.run(home.codes._apply(made.code, 0.0))
    assert home.answered == [answered]


def test_something_dangerous_is_opened_once_somebody_is_sure(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a permission, an approval, and a code for either."""
    monkeypatch.setitem(ROWS, 3, _row(3, "phone", "www.tinder.com"))
    monkeypatch.setitem(ROWS, 4, _row(4, "phone", "bets.example"))
    for sure in (False, True):
        ways = (
            home.control.approve(3, GrantDuration.HOUR, "ana", sure=sure),
            home.control.approve(4, GrantDuration.HOUR, "ana", sure=sure),
            home.control.give(AccessSubject("tinder", "sam"), "ana", ends=None, sure=sure),
            home.codes.make(CodeOrder(request=3, sure=sure), "ana"),
            home.codes.make(CodeOrder(person="sam", subject="bets.example", sure=sure), "ana"),
        )
        for way in ways:
            if sure:
                asyncio.run(way)
                continue
            with pytest.raises(DangerousOpening) as refused:
                asyncio.run(way)
            assert refused.value.more["person"] == "sam"
            assert refused.value.more["dangers"] in (("dating",), ("gambling",))
            assert home.answered == [], "nothing was opened"
    assert home.answered == [("tinder", (3,)), ("bets.example", (4,)), ("tinder", ())]


def test_a_device_that_is_called_like_a_person_is_not_answered_with_the_person() -> None:
    persons = replace(ROWS[1], person="kim")
    devices = replace(ROWS[1], id=3, person=None, device=DeviceId("kim"))
    assert not devices.is_answered_with(persons, parse_policy(POLICY, None))
