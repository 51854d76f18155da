"""Warnings: once at each mark, anew after minutes on top, and only for those who are there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from hedgerow.app.control.budgets import EndingNotifier
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources
from hedgerow.journal.recorder import SystemEvent
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import Bonus
from hedgerow.policies.times.budget import BudgetBalance, balances, mark

POLICY = parse_policy(b"""
network: {timezone: UTC}
people: {mia: {age: 9, bedtime: "20:30-07:00", budget: 1h}, tom: {age: 9, bedtime: "20:30-07:00"}}
""", None)  # fmt: skip
FOUR = datetime(2026, 11, 25, 16, tzinfo=UTC).timestamp()


@dataclass
class Home:
    """A `View`, as far as warnings look at it."""

    policy: Policy
    rulesets: Rulesets


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    out = tmp_path_factory.mktemp("lists") / "generation"
    compile_generation(starter_sources(), out)
    return Catalogue.open(out)


class _Stand:
    def __init__(self, catalogue: Catalogue) -> None:
        self.events: list[SystemEvent] = []
        self.used, self.bonuses = 0, []
        self._home = Home(POLICY, Rulesets(POLICY, (), (), catalogue))
        self.warner = EndingNotifier(lambda: None, self._balances, self.events.append)

    def _balances(self, policy: Policy, now: float) -> tuple[BudgetBalance, ...]:
        marks: dict[int, int] = {}
        for minute in range(self.used):
            mark(marks, int(FOUR // 60) - 120 + minute)
        return balances(policy, {("person:mia", ""): marks}, self.bonuses, now)

    def look(self, now: float) -> list[str]:
        before = len(self.events)
        self.warner.look(self._home, now)  # type: ignore[arg-type]
        return [f"{event.subject}: {event.detail}" for event in self.events[before:]]


def test_minutes_of_use(catalogue: Catalogue) -> None:
    stand = _Stand(catalogue)
    stand.warner.seen("mia", FOUR)
    told = []
    for stand.used in (40, 44, 45, 46, 54, 55, 56):
        told += stand.look(FOUR)
    assert told == ["mia: 15 minutes are left", "mia: 5 minutes are left"]
    stand.bonuses = [Bonus("b", "person:mia", "", 30, "ana", FOUR)]
    assert stand.look(FOUR) == []
    stand.used = 76
    assert stand.look(FOUR) == ["mia: 14 minutes are left"]


def test_bedtime_is_told_to_who_is_there(catalogue: Catalogue) -> None:
    stand = _Stand(catalogue)
    evening = FOUR + 4.25 * 3600
    assert stand.look(evening) == [], "nobody is there"
    stand.warner.seen("mia", evening - 300)
    stand.warner.seen("tom", evening - 3600)
    stand.warner.seen(None, evening)
    assert stand.look(evening) == ["mia: 15 minutes until bedtime"]
    assert stand.look(evening + 5) == []
    assert stand.look(evening + 601) == [], "gone by now"
    stand.warner.seen("mia", evening + 610)
    assert stand.look(evening + 610) == ["mia: 5 minutes until bedtime"]
