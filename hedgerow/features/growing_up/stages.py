"""The stages of growing up: from one profile to the next, never unannounced. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from zoneinfo import ZoneInfo

from hedgerow.features.growing_up.announcements import (
    LOOKS_AHEAD_DAYS,
    NOTICE_DAYS,
    AnnouncedChange,
    Countdown,
    day_after,
)
from hedgerow.policies.growing import ADULT_AT, age_on, birthday, day_at, first_instant, profile_for_age
from hedgerow.policies.growth_steps import Born
from hedgerow.policies.host_facts import AGE_BANDS
from hedgerow.seen_time import DAY_S, Passing

LONGEST_WAIT_S = 365 * DAY_S  # so that no script of a child moves it out of the calendar
_FIRST_AGE = {profile: age for age, profile in AGE_BANDS.items()}


@dataclass(frozen=True, slots=True)
class GrowthStage(AnnouncedChange):
    """The profile that a person has, and the one that is announced.

    `erased_at` is the instant at which what was recorded about a new adult is erased, 0 if nothing is to be. `unseen`
    are the seconds that have still to be seen passing before either of them.
    """

    person: str
    born: str
    profile: str
    erased_at: float = 0.0

    @property
    def countdown(self) -> Countdown:
        """The countdown to the announced profile, or to the erasure."""
        return Countdown(self.takes_effect if self.announced else self.erased_at, self.unseen)


def first_stage(person: str, born: Born, now: float, zone: ZoneInfo) -> GrowthStage:
    """Return the stage of a person whose birth was just entered: the profile of the age, which somebody has chosen."""
    return GrowthStage(person, str(born), profile_for_age(age_on(born, day_at(now, zone))))


def next_stage(stage: GrowthStage, born: Born, now: float, zone: ZoneInfo, passing: Passing) -> GrowthStage:
    """Return the stage at `now`, after what was seen passing since the last look.

    A profile that was announced takes effect at its time. The next one is announced thirty days before the birthday
    or, if nobody looked then, now, and takes effect thirty days later. Nobody gets a younger profile. After a jump of
    the clock, nothing is announced, changed or erased until the clock is steady again.
    """
    stage = _counted(stage, now, zone, passing)
    if not passing.is_steady:
        return stage
    if stage.is_from_ahead(now) or (stage.announced and stage.takes_effect > now + 2 * LONGEST_WAIT_S):
        stage = stage.withdrawn()
    if stage.is_due(now):
        stage = in_force(stage, now, zone)
    soon = profile_for_age(age_on(born, day_at(now, zone) + timedelta(days=LOOKS_AHEAD_DAYS)))
    if _FIRST_AGE[soon] <= max(_FIRST_AGE[stage.profile], _FIRST_AGE.get(stage.announced, 0)):
        return stage
    return stage.announcing(soon, first_instant(birthday(born, _FIRST_AGE[soon]), zone), now, zone)


def _counted(stage: GrowthStage, now: float, zone: ZoneInfo, passing: Passing) -> GrowthStage:
    """Return the stage after what was seen passing, on the way to a profile or to the erasure."""
    if stage.announced or not stage.erased_at:
        return stage.counted(now, zone, passing)
    left = stage.countdown.with_unseen(stage.unseen_after(passing, now), now, zone)
    return replace(stage, erased_at=left.date, unseen=left.unseen, seen_at=now)


def in_force(stage: GrowthStage, now: float, zone: ZoneInfo) -> GrowthStage:
    """Return the stage with the announced profile as the present one."""
    grown = replace(stage.withdrawn(), profile=stage.announced)
    if _FIRST_AGE[stage.announced] < ADULT_AT:
        return grown
    erased_at = day_after(now, NOTICE_DAYS, zone)
    return replace(grown, erased_at=erased_at, unseen=erased_at - now, seen_at=now)


def put_off(stage: GrowthStage, now: float, zone: ZoneInfo) -> GrowthStage:
    """Return the stage with the announced profile thirty days later, or the same one if that is a year away already."""
    if stage.takes_effect > now + LONGEST_WAIT_S:
        return stage
    later = day_after(max(stage.countdown.comes_at(now, zone), now), NOTICE_DAYS, zone)
    return replace(stage, takes_effect=later, unseen=later - now, seen_at=now)


def is_erased_at(stage: GrowthStage, now: float) -> bool:
    """Return True if what was recorded about a new adult is to be erased now."""
    return 0 < stage.erased_at <= now and stage.countdown.is_certain and not stage.announced
