"""Warnings before time ends: once at each mark, again after bonus minutes, and only for active people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from hedgerow.app.control.snapshots.budgets import EndingNotifier
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources
from hedgerow.journal.recorder import SystemEvent
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import Bonus
from hedgerow.policies.times.budget import BudgetBalance, balances, mark

POLICY = parse_policy(
    b"""
network: {timezone: UTC}
people: {mia: {age: 9, bedtime: "20:30-07:00", budget: 1h}, tom: {age: 9, bedtime: "20:30-07:00"}}
""",
    None,
)
FOUR = datetime(2026, 11, 25, 16, tzinfo=UTC).timestamp()


@dataclass
class Home:
    """The parts of a `LoadedSnapshot` that warnings need."""

    policy: Policy
    rulesets: Rulesets


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    out = tmp_path_factory.mktemp("lists") / "generation"
    compile_generation(starter_sources(), out)
    return Catalogue.open(out)


class _Fixture:
    def __init__(self, catalogue: Catalogue) -> None:
        self.events: list[SystemEvent] = []
        self.used = 0
        self.bonuses: list[Bonus] = []
        self._home = Home(POLICY, Rulesets(POLICY, (), (), catalogue))
        self.notifier = EndingNotifier(lambda: None, self._balances, self.events.append)

    def _balances(self, policy: Policy, now: float) -> tuple[BudgetBalance, ...]:
        marks: dict[int, int] = {}
        for minute in range(self.used):
            mark(marks, int(FOUR // 60) - 120 + minute)
        return balances(policy, {("person:mia", ""): marks}, self.bonuses, now)

    def warnings(self, now: float) -> list[str]:
        before = len(self.events)
        self.notifier.check(self._home, now)  # type: ignore[arg-type]
        return [f"{event.subject}: {event.detail}" for event in self.events[before:]]


def test_minutes_of_use(catalogue: Catalogue) -> None:
    fixture = _Fixture(catalogue)
    fixture.notifier.seen("mia", FOUR)
    warnings = []
    for fixture.used in (40, 44, 45, 46, 54, 55, 56):
        warnings += fixture.warnings(FOUR)
    assert warnings == ["mia: 15 minutes are left", "mia: 5 minutes are left"]
    fixture.bonuses = [Bonus("b", "person:mia", "", 30, "ana", FOUR)]
    assert fixture.warnings(FOUR) == []
    fixture.used = 76
    assert fixture.warnings(FOUR) == ["mia: 14 minutes are left"]


def test_active_people_are_warned_of_bedtime(catalogue: Catalogue) -> None:
    fixture = _Fixture(catalogue)
    evening = FOUR + 4.25 * 3600
    assert fixture.warnings(evening) == [], "nobody is there"
    fixture.notifier.seen("mia", evening - 300)
    fixture.notifier.seen("tom", evening - 3600)
    fixture.notifier.seen(None, evening)
    assert fixture.warnings(evening) == ["mia: 15 minutes until bedtime"]
    assert fixture.warnings(evening + 5) == []
    assert fixture.warnings(evening + 601) == [], "gone by now"
    fixture.notifier.seen("mia", evening + 610)
    assert fixture.warnings(evening + 610) == ["mia: 5 minutes until bedtime"]
