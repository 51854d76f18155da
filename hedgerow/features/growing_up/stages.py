"""The stages of growing up: from one profile to the next, never unannounced. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from zoneinfo import ZoneInfo

from hedgerow.policies.growing import ADULT_AT, age_on, birthday, day_at, first_instant, profile_for_age
from hedgerow.policies.host_facts import AGE_BANDS
from hedgerow.policies.model import Born

DAY_S = 86_400.0
NOTICE_DAYS = 30
_LOOKS_AHEAD_DAYS = NOTICE_DAYS + 1
_LONGEST_WAIT_S = 365 * DAY_S  # so that no script of a child moves it out of the calendar
_FIRST_AGE = {profile: age for age, profile in AGE_BANDS.items()}


@dataclass(frozen=True, slots=True)
class GrowthStage:
    """The profile that a person has, and the one that is announced.

    `announced_at` and `takes_effect` are instants; the latter is the beginning of a day. `erased_at` is the instant at
    which what was recorded about a new adult is erased, 0 if nothing is to be.
    """

    person: str
    born: str
    profile: str
    announced: str = ""
    announced_at: float = 0.0
    takes_effect: float = 0.0
    erased_at: float = 0.0


def first_stage(person: str, born: Born, now: float, zone: ZoneInfo) -> GrowthStage:
    """Return the stage of a person whose birth was just entered: the profile of the age, which somebody has chosen."""
    return GrowthStage(person, str(born), profile_for_age(age_on(born, day_at(now, zone))))


def next_stage(stage: GrowthStage, born: Born, now: float, zone: ZoneInfo) -> GrowthStage:
    """Return the stage at `now`, the same one if nothing has changed.

    A profile that was announced takes effect at its time. The next one is announced thirty days before the birthday
    or, if nobody looked then, now, and takes effect thirty days later. Nobody gets a younger profile.
    """
    if stage.announced and stage.announced_at > now + DAY_S:
        stage = replace(stage, announced="")  # by a clock that was ahead: nobody has read it yet
    if stage.announced and stage.takes_effect <= now:
        is_adult = _FIRST_AGE[stage.announced] >= ADULT_AT
        erased_at = _day_after(max(stage.takes_effect, now), NOTICE_DAYS, zone) if is_adult else stage.erased_at
        stage = replace(stage, profile=stage.announced, announced="", erased_at=erased_at)
    soon = profile_for_age(age_on(born, day_at(now, zone) + timedelta(days=_LOOKS_AHEAD_DAYS)))
    if _FIRST_AGE[soon] <= max(_FIRST_AGE[stage.profile], _FIRST_AGE.get(stage.announced, 0)):
        return stage
    birth = first_instant(birthday(born, _FIRST_AGE[soon]), zone)
    takes_effect = max(birth, _day_after(now, NOTICE_DAYS, zone))
    return replace(stage, announced=soon, announced_at=now, takes_effect=takes_effect)


def put_off(stage: GrowthStage, now: float, zone: ZoneInfo) -> GrowthStage:
    """Return the stage with the announced profile thirty days later, or the same one if that is a year away already."""
    if stage.takes_effect > now + _LONGEST_WAIT_S:
        return stage
    return replace(stage, takes_effect=_day_after(max(stage.takes_effect, now), NOTICE_DAYS, zone))


def brought_forward(stage: GrowthStage, now: float) -> GrowthStage:
    """Return the stage with the announced profile at once, as somebody in charge wants it."""
    return replace(stage, takes_effect=now)


def _day_after(instant: float, days: int, zone: ZoneInfo) -> float:
    """Return the beginning of the first day that is at least this many days after an instant."""
    day = day_at(instant, zone)
    begins = first_instant(day, zone) >= instant
    return first_instant(day + timedelta(days=days + (not begins)), zone)
