"""Closings by law, from one stage of a person to the next, never unannounced. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from hedgerow.features.growing_up.clock_watch import DAY_S, Passing
from hedgerow.features.growing_up.countdown import LOOKS_AHEAD_DAYS, NOTICE_DAYS, Countdown, day_after
from hedgerow.policies.growing import day_at, first_instant

NOTHING = "-"

type TopicsOn = Callable[[date], str]
"""Return the topics that the law closes on a day, in order and with a space between them, or `NOTHING`."""


@dataclass(frozen=True, slots=True)
class LegalStage:
    """Topics that are closed to a person by law, and those announced, as `TopicsOn` has them; empty for none announced.

    `basis` is the country with the birth or the age. If the policy has another one, that is a decision of a parent.
    """

    person: str
    basis: str
    closed: str
    announced: str = ""
    announced_at: float = 0.0
    takes_effect: float = 0.0
    unseen: float = 0.0
    seen_at: float = 0.0

    @property
    def countdown(self) -> Countdown:
        """The countdown to what is announced."""
        return Countdown(self.takes_effect, self.unseen)


def next_legal_stage(
    stage: LegalStage, topics_on: TopicsOn, now: float, zone: ZoneInfo, passing: Passing
) -> LegalStage:
    """Return the stage at `now`, after what was seen passing since the last look.

    What will be closed, or open again, is announced thirty days before or, if nobody looked then, now.
    """
    if stage.announced:
        left = stage.countdown.after(passing.seconds, now, zone)
        stage = replace(stage, takes_effect=left.date, unseen=left.unseen, seen_at=now)
    if not passing.is_steady:
        return stage
    if stage.announced and stage.announced_at > now + DAY_S:
        stage = _without_announcement(stage)  # by a clock that was ahead: nobody has read it yet
    if stage.announced and stage.countdown.is_certain and stage.takes_effect <= now:
        stage = replace(_without_announcement(stage), closed=stage.announced)
    today = day_at(now, zone)
    days = [today + timedelta(days=ahead) for ahead in range(LOOKS_AHEAD_DAYS + 1)]
    wanted = topics_on(days[-1])
    if wanted == (stage.announced or stage.closed):
        return stage
    if wanted == stage.closed:
        return _without_announcement(stage)
    first = next(day for day in days if topics_on(day) == wanted)
    takes_effect = max(first_instant(first, zone), day_after(now, NOTICE_DAYS, zone))
    return replace(
        stage, announced=wanted, announced_at=now, takes_effect=takes_effect, unseen=takes_effect - now, seen_at=now
    )


def _without_announcement(stage: LegalStage) -> LegalStage:
    return replace(stage, announced="", unseen=0.0, seen_at=0.0)
