"""Upcoming ends of time and budgets."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.expiry import ending_sentence, upcoming_ends
from hedgerow.policies.model import Pause
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.times.budget import balances, mark, spent_budgets

POLICY = b"""
network: {timezone: Europe/Lisbon}
people:
  mia:
    age: 9
    devices: [tablet]
    bedtime: "20:30-07:00"
    budget: {every-day: 1h, games: 20m}
    schedules:
      dinner: {block: internet, when: "19:00-19:45"}
      film: {allow: internet, when: {sat: "20:00-22:00"}}
devices: {tablet: {ip: 192.168.1.9}}
"""


def _reported(
    catalogue: Catalogue, clock: str, *, used: int = 0, games: int = 0, pauses: tuple[Pause, ...] = ()
) -> list[str]:
    """Return the warnings at a time of day, after some minutes of use in the morning."""
    zone, policy = ZoneInfo("Europe/Lisbon"), parse_policy(POLICY, None)
    now = datetime.fromisoformat(clock).replace(tzinfo=zone).timestamp()
    morning = int(datetime.fromisoformat(clock).replace(hour=8, minute=0, tzinfo=zone).timestamp() // 60)
    marks: dict[tuple[str, str], dict[int, int]] = {}
    for subject, minutes in (("", used), ("category:games", games)):
        for minute in range(minutes):
            mark(marks.setdefault(("person:mia", subject), {}), morning + minute)
    budget_status = balances(policy, marks, (), now)
    rulesets = Rulesets(policy, (), pauses, catalogue, spent_budgets(budget_status))
    device = rulesets.devices.find("192.168.1.9")
    assert device is not None
    return [ending_sentence(ending) for ending in upcoming_ends(rulesets, device, budget_status, now)]


@pytest.mark.parametrize(
    ("clock", "used", "games", "expected"),
    [
        ("2026-11-25 16:00", 0, 0, []),
        ("2026-11-25 18:44", 0, 0, []),
        ("2026-11-25 18:45", 0, 0, ["15 minutes until dinner"]),
        ("2026-11-25 18:59", 0, 0, ["1 minute until dinner"]),
        ("2026-11-25 19:10", 0, 0, []),  # closed already
        ("2026-11-25 20:20", 0, 0, ["10 minutes until bedtime"]),
        ("2026-11-28 20:20", 0, 0, []),  # the film on Saturday goes on over it
        ("2026-11-28 21:50", 0, 0, ["10 minutes until bedtime"]),  # until it ends
        ("2026-11-25 16:00", 46, 0, ["14 minutes are left"]),
        ("2026-11-25 20:26", 58, 19, ["1 minute of games is left", "2 minutes are left", "4 minutes until bedtime"]),
        ("2026-11-25 16:00", 60, 0, []),
        ("2026-11-25 16:00", 30, 20, []),  # games are over, which is no ending to come
        ("2026-11-25 08:59", 60, 0, ["1 minute is left"]),  # the last minute runs
        ("2026-10-25 00:50", 0, 0, []),  # in bed when clocks change
    ],
)
def test_upcoming_ends(catalogue: Catalogue, clock: str, used: int, games: int, expected: list[str]) -> None:
    assert _reported(catalogue, clock, used=used, games=games) == expected
