"""Closings by law, from one stage of a person to the next, never unannounced. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from hedgerow.features.growing_up.announcements import LOOKS_AHEAD_DAYS, AnnouncedChange
from hedgerow.policies.growing import day_at, first_instant
from hedgerow.seen_time import Passing

NOTHING = "-"

type TopicsOn = Callable[[date], str]
"""Return the topics that the law closes on a day, in order and with a space between them, or `NOTHING`."""


@dataclass(frozen=True, slots=True)
class LegalStage(AnnouncedChange):
    """Topics that are closed to a person by law, and those announced, as `TopicsOn` has them; empty for none announced.

    `basis` is the country with the birth or the age. If the policy has another one, that is a decision of a parent.
    """

    person: str
    basis: str
    closed: str


def next_legal_stage(
    stage: LegalStage, topics_on: TopicsOn, now: float, zone: ZoneInfo, passing: Passing
) -> LegalStage:
    """Return the stage at `now`, after what was seen passing since the last look.

    What will be closed, or open again, is announced thirty days before or, if nobody looked then, now.
    """
    stage = stage.counted(now, zone, passing)
    if not passing.is_steady:
        return stage
    if stage.is_from_ahead(now):
        stage = stage.withdrawn()
    if stage.is_due(now):
        stage = replace(stage.withdrawn(), closed=stage.announced)
    today = day_at(now, zone)
    days = [today + timedelta(days=ahead) for ahead in range(LOOKS_AHEAD_DAYS + 1)]
    wanted = topics_on(days[-1])
    if wanted == (stage.announced or stage.closed):
        return stage
    if wanted == stage.closed:
        return stage.withdrawn()
    first = next(day for day in days if topics_on(day) == wanted)
    return stage.announcing(wanted, first_instant(first, zone), now, zone)
