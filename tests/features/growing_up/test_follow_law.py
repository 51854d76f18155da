"""`follow_law`: what the law closes to an age is closed, from the day on that was announced for thirty days."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.app.control.snapshots.policy_of_today import PolicyOfToday
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import Source
from hedgerow.features.growing_up.keeper import GrowthKeeper
from hedgerow.features.growing_up.legal_stages import NOTHING, LegalStage, next_legal_stage
from hedgerow.journal.database import open_journal
from hedgerow.policies.explain import Explanation, explain
from hedgerow.policies.growing import foreseen
from hedgerow.policies.model import DeviceId, Policy, Reason, Verdict
from hedgerow.policies.reading.load import PolicyError, parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.seen_time import DAY_S, ClockWatch

ZONE = ZoneInfo("Australia/Sydney")
HOUSE = """
network: {{lan: [127.0.0.0/8], timezone: Australia/Sydney, country: AU{law}}}
people: {{mia: {{{mia}, devices: [tablet]}}}}
devices: {{tablet: {{ip: 127.0.0.31}}}}
"""
FOLLOWS = ", follow_law: true"


def _at(year: int, month: int, day: int, hour: int = 9) -> float:
    return datetime(year, month, day, hour, tzinfo=ZONE).timestamp()


async def _at_once() -> None:
    """Wait for nothing."""


class Home:
    """A home whose keeper looks every six hours, and what a tablet gets there."""

    def __init__(self, folder: Path, now: float, mia: str, follows: str = FOLLOWS) -> None:
        self.now, self.catalogue, self.uptime = now, _catalogue(folder), 0.0
        self.policy = self.file = parse_policy(HOUSE.format(mia=mia, law=follows).encode(), None)
        self.store = open_journal(folder / "journal.sqlite")
        self.keeper = self.restarted()
        self.today = PolicyOfToday(lambda policy: self.keeper.growth(policy), lambda: self.now)

    def restarted(self) -> GrowthKeeper:
        self.keeper = GrowthKeeper(
            self.store, lambda: self.file, str, _at_once, lambda: self.now, uptime=lambda: self.uptime
        )
        self.keeper.look()
        return self.keeper

    def go_on(self, until: float) -> None:
        while self.now < until:
            self.now, self.uptime = self.now + DAY_S / 4, self.uptime + DAY_S / 4
            self.keeper.look()

    def read(self, mia: str, follows: str = FOLLOWS) -> None:
        self.file = parse_policy(HOUSE.format(mia=mia, law=follows).encode(), None)

    def explained(self, site: str = "social.example", at: float = 0.0) -> Explanation:
        policy: Policy = self.today.of(self.file)
        if at:
            policy = foreseen(policy, self.now)
        rulesets = Rulesets(policy, (), (), self.catalogue)
        return explain(rulesets, self.catalogue, policy.devices[DeviceId("tablet")], site, at or self.now)

    def is_closed(self, at: float = 0.0) -> bool:
        return self.explained(at=at).decision.verdict is Verdict.BLOCK


def _catalogue(folder: Path) -> Catalogue:
    (folder / "social").write_text("social.example\nclub.example\n")
    compile_generation([Source("own/social", "social", folder / "social", None, "plain")], folder / "lists")
    return Catalogue.open(folder / "lists")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Callable[..., Home]]:
    with ExitStack() as open_homes:

        def make(*about: Any) -> Home:
            made = Home(tmp_path, *about)
            open_homes.callback(made.store.dispose)
            return made

        yield make


def test_by_default_the_law_closes_nothing(home: Callable[..., Home]) -> None:
    assert not home(_at(2026, 12, 3), "age: 15, allow: [social]", "").is_closed()


def test_what_the_law_closes_is_closed_with_its_name_and_date(home: Callable[..., Home]) -> None:
    here = home(_at(2026, 12, 3), "age: 15, allow: [social, club.example]")
    decision = here.explained().decision
    assert (decision.verdict, decision.reason, decision.what) == (Verdict.BLOCK, Reason.CATEGORY, "social")
    assert "Social Media Minimum Age" in decision.note
    assert decision.note.endswith("(<16, 2025-12-10)")
    assert here.explained("club.example").decision.verdict is Verdict.ALLOW, "a site that the family named"
    here.read("age: 16, allow: [social]")
    assert not here.is_closed()
    here.read("age: 15, allow: [social]", "")
    assert not here.is_closed()


def test_a_law_that_commences_is_announced_for_thirty_days(home: Callable[..., Home]) -> None:
    here = home(_at(2025, 10, 1), "age: 15, allow: [social]")
    assert not here.is_closed()
    assert here.is_closed(at=_at(2025, 12, 11)), "explain --at knows the day"
    here.go_on(_at(2025, 11, 7))
    assert here.keeper.legal_news("mia") is None
    here.go_on(_at(2025, 11, 10))
    news = here.keeper.legal_news("mia")
    assert news is not None
    assert (news.at, [each.topic for each in news.closed]) == (_at(2025, 12, 10, 0), ["social"])
    here.go_on(_at(2025, 12, 9))
    here.now = _at(2025, 12, 9, 23)
    assert not here.is_closed()
    here.restarted()
    here.now = _at(2025, 12, 10, 1)
    assert here.is_closed(), "also while nobody looks"


def test_at_sixteen_it_opens_again_and_the_child_knew(home: Callable[..., Home]) -> None:
    here = home(_at(2026, 12, 3), "born: 2011-02-10, allow: [social]")
    assert here.is_closed()
    assert not here.is_closed(at=_at(2027, 2, 11))
    here.go_on(_at(2027, 1, 12))
    news = here.keeper.legal_news("mia")
    assert news is not None
    assert (news.at, [each.topic for each in news.opened]) == (_at(2027, 2, 10, 0), ["social"])
    here.go_on(_at(2027, 2, 9))
    assert here.is_closed()
    here.go_on(_at(2027, 2, 11))
    assert not here.is_closed()


def test_off_over_the_birthday_it_opens_thirty_days_after_the_announcement(home: Callable[..., Home]) -> None:
    here = home(_at(2026, 12, 3), "born: 2011-02-10, allow: [social]")
    here.now, here.uptime = _at(2027, 3, 1), 50.0
    here.file = replace(here.file, people={"mia": replace(here.file.people["mia"], age=16)})
    here.restarted()
    here.go_on(_at(2027, 3, 2))
    assert here.is_closed()
    assert here.keeper.legal_news("mia") is not None
    here.go_on(_at(2027, 4, 2))
    assert not here.is_closed()


def test_the_key_needs_a_country() -> None:
    with pytest.raises(PolicyError, match="whose law is it"):
        parse_policy(b"network: {follow_law: true}", None)


@settings(max_examples=60, deadline=None)
@given(
    turns=st.lists(st.tuples(st.integers(5, 300), st.sampled_from([NOTHING, "social", "gambling social"])), max_size=4),
    off=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 90)), max_size=3),
    jumps=st.dictionaries(st.integers(0, 400), st.sampled_from([-4000, -40, 35, 4000]), max_size=3),
)
def test_nothing_is_closed_or_opened_unannounced(
    turns: list[tuple[int, str]], off: list[tuple[int, int]], jumps: dict[int, int]
) -> None:
    begin = _at(2026, 12, 3)
    first = date(2026, 12, 3)

    def topics_on(day: date) -> str:
        return next((what for after, what in sorted(turns, reverse=True) if first + timedelta(after) <= day), NOTHING)

    stage, watch, told_at, ahead = LegalStage("mia", "AU 15", NOTHING), ClockWatch(), begin, 0.0
    is_off = {day for start, length in off for day in range(start, start + length)}
    for half in range(2 * 400):
        real = begin + half * DAY_S / 2
        ahead = jumps.get(half // 2, ahead / DAY_S) * DAY_S
        if half // 2 in is_off:
            watch = ClockWatch(stage.seen_at)
            continue
        before, passing = stage, watch.look(real + ahead, real)
        stage = next_legal_stage(stage, topics_on, real + ahead, ZONE, passing)
        if stage.closed != before.closed:
            assert real - told_at >= 29 * DAY_S - len(jumps) * DAY_S
        if stage.announced_at != before.announced_at or stage.announced != before.announced:
            told_at = real if stage.announced else told_at
