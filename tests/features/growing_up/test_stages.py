"""Simulated years: no profile changes unannounced, whatever is switched off and however clocks jump."""

from __future__ import annotations

import os
from datetime import date, datetime
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.features.growing_up.announcements import NOTICE_DAYS
from hedgerow.features.growing_up.stages import (
    GrowthStage,
    first_stage,
    in_force,
    is_erased_at,
    next_stage,
    put_off,
)
from hedgerow.policies.growing import age_on, profile_for_age
from hedgerow.policies.growth_steps import Born
from hedgerow.policies.host_facts import AGE_BANDS
from hedgerow.seen_time import DAY_S, ClockWatch, Passing

ZONES = (
    "Africa/Cairo", "Africa/Casablanca", "Africa/Johannesburg", "Africa/Lagos", "America/Argentina/Buenos_Aires",
    "America/Asuncion", "America/Bogota", "America/Chicago", "America/Denver", "America/Halifax", "America/Havana",
    "America/Los_Angeles", "America/Mexico_City", "America/New_York", "America/Nuuk", "America/Phoenix",
    "America/Santiago", "America/Sao_Paulo", "America/St_Johns", "Asia/Beirut", "Asia/Dhaka", "Asia/Dubai",
    "Asia/Gaza", "Asia/Jerusalem", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Shanghai", "Asia/Tehran", "Asia/Tokyo",
    "Atlantic/Azores", "Australia/Adelaide", "Australia/Lord_Howe", "Australia/Sydney", "Europe/Berlin",
    "Europe/Lisbon", "Europe/London", "Pacific/Apia", "Pacific/Auckland", "Pacific/Chatham", "Pacific/Kiritimati",
)  # fmt: skip
YEARS = int(os.environ.get("HEDGEROW_SIMULATED_YEARS", "2"))
"""Years that a simulation lasts."""
EXAMPLES = int(os.environ.get("HEDGEROW_SIMULATIONS", "20"))
BANDS = tuple(AGE_BANDS.values())
BERLIN = ZoneInfo("Europe/Berlin")


def _at(year: int, month: int, day: int, hour: int = 0, zone: ZoneInfo = BERLIN) -> float:
    return datetime(year, month, day, hour, tzinfo=zone).timestamp()


def _stage_after(stage: GrowthStage, born: Born, *moments: float) -> GrowthStage:
    """Return the stage after looks of a control that has run since the look before, or since these moments."""
    for moment in moments:
        passing = Passing(moment - stage.seen_at if stage.seen_at else 0.0)
        stage = next_stage(stage, born, moment, BERLIN, passing)
    return stage


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    born=st.dates(date(2006, 1, 1), date(2020, 12, 31)),
    by_month=st.booleans(),
    start=st.dates(date(2026, 1, 1), date(2028, 12, 31)),
    gaps=st.lists(st.tuples(st.integers(0, 365 * YEARS), st.integers(1, 200)), max_size=3),
    waits=st.lists(st.integers(0, 365 * YEARS), max_size=2),
)
def test_no_profile_changes_unannounced_in_simulated_years(
    zone: str,
    born: date,
    by_month: bool,
    start: date,
    gaps: list[tuple[int, int]],
    waits: list[int],
) -> None:
    """Control looks every twelve hours, except in the gaps: then it was off, or the clock jumped over them."""
    place, birth = ZoneInfo(zone), Born(born.year, born.month, None if by_month else born.day)
    begin = datetime(start.year, start.month, start.day, 9, tzinfo=place).timestamp()
    off = {day for first, length in gaps for day in range(first, first + length)}
    stage, shown, has_waited = first_stage("mia", birth, begin, place), dict[str, float](), False
    watch = ClockWatch()
    for half in range(2 * 365 * YEARS):
        day, now = half // 2, begin + half * DAY_S / 2
        if day in off:
            watch = ClockWatch(stage.seen_at)
            continue
        before, stage = stage, next_stage(stage, birth, now, place, watch.look(now, now))
        if stage.profile != before.profile:
            assert now - shown[stage.profile] >= NOTICE_DAYS * DAY_S
            began = datetime.fromtimestamp(before.takes_effect, place)
            assert (began.hour, began.minute) <= (1, 0), "it begins with a day, where the clock skips midnight at one"
            assert BANDS.index(stage.profile) > BANDS.index(before.profile)
        if stage.announced:
            shown.setdefault(stage.announced, now)
            if day in waits:
                stage, has_waited = put_off(stage, now, place), True
        age = age_on(birth, datetime.fromtimestamp(now, place).date())
        assert BANDS.index(stage.profile) <= BANDS.index(profile_for_age(age)), "never ahead of the age"
        if not (off or has_waited):
            expected = profile_for_age(age)
            is_new = shown.get(expected, begin) == begin or now < stage.takes_effect
            assert stage.profile == expected or is_new, "on time, if nobody was away and nobody waited"


def test_a_birthday_is_announced_thirty_days_before_and_comes_at_midnight() -> None:
    born = Born(2013, 12)
    stage = first_stage("mia", born, _at(2026, 10, 1, 12), BERLIN)
    assert (stage.profile, stage.announced) == ("child-8-12", "")
    assert not _stage_after(stage, born, _at(2026, 10, 30, 12)).announced
    told = _stage_after(stage, born, _at(2026, 10, 31))
    assert (told.announced, told.takes_effect) == ("teen-13-15", _at(2026, 12, 1))
    assert _stage_after(told, born, _at(2026, 12, 1) - 1).profile == "child-8-12"
    assert _stage_after(told, born, _at(2026, 12, 1)).profile == "teen-13-15"


def test_off_over_a_birthday_the_announcement_comes_first() -> None:
    born = Born(2013, 12)
    stage = first_stage("mia", born, _at(2026, 10, 1, 12), BERLIN)
    back = _stage_after(stage, born, _at(2027, 2, 1, 12))
    assert (back.profile, back.announced) == ("child-8-12", "teen-13-15")
    assert back.takes_effect == _at(2027, 3, 4)


def test_a_clock_that_was_ahead_has_announced_nothing() -> None:
    born = Born(2013, 12)
    stage = _stage_after(first_stage("mia", born, _at(2026, 10, 1), BERLIN), born, _at(2030, 1, 1))
    assert stage.announced == "teen-16-17"
    assert not _stage_after(stage, born, _at(2026, 10, 2)).announced


def test_waiting_keeps_the_profile_for_thirty_days_and_the_next_look_knows_it() -> None:
    born = Born(2013, 12)
    told = _stage_after(first_stage("mia", born, _at(2026, 10, 1), BERLIN), born, _at(2026, 11, 1))
    later = put_off(_stage_after(told, born, _at(2026, 11, 20)), _at(2026, 11, 20), BERLIN)
    assert later.takes_effect == _at(2026, 12, 31)
    assert _stage_after(later, born, _at(2026, 12, 24)).profile == "child-8-12"
    assert _stage_after(later, born, _at(2026, 12, 31)).profile == "teen-13-15"


def test_at_eighteen_the_record_is_erased_after_thirty_days_also_if_nobody_looked_for_months() -> None:
    born = Born(2009, 1)
    told = _stage_after(first_stage("mia", born, _at(2026, 11, 1), BERLIN), born, _at(2026, 12, 2))
    adult = _stage_after(told, born, _at(2027, 1, 1))
    assert (adult.profile, adult.erased_at) == ("adult", _at(2027, 1, 31))
    late = _stage_after(told, born, _at(2027, 6, 1))
    assert (late.profile, late.erased_at) == ("adult", _at(2027, 7, 1))


def test_days_without_hedgerow_put_the_date_off_and_the_pages_say_so() -> None:
    born, begin = Born(2013, 12), _at(2026, 10, 31)
    stage = _stage_after(first_stage("mia", born, _at(2026, 10, 1), BERLIN), born, begin)
    assert stage.countdown.comes_at(begin, BERLIN) == stage.takes_effect == _at(2026, 12, 1)
    back = _at(2026, 11, 20)  # off for twenty days, of which one counts
    stage = next_stage(stage, born, back, BERLIN, ClockWatch(stage.seen_at).look(back, 100.0))
    promised = stage.countdown.comes_at(back, BERLIN)
    assert promised == _at(2026, 12, 19)
    for day in range(29):
        stage = _stage_after(stage, born, back + day * DAY_S + 7)
        assert (stage.profile, stage.countdown.comes_at(stage.seen_at, BERLIN)) == ("child-8-12", promised)
    assert _stage_after(stage, born, promised).profile == "teen-13-15"


def test_a_clock_without_a_battery_keeps_what_was_announced() -> None:
    """It begins in 1970 at each start, and is set from the network a minute later."""
    born = Born(2013, 12)
    stage = _stage_after(first_stage("mia", born, _at(2026, 10, 1), BERLIN), born, _at(2026, 10, 31))
    told = stage.announced_at
    for day in range(1, 31):
        watch = ClockWatch(stage.seen_at)
        stage = next_stage(stage, born, 10.0, BERLIN, watch.look(10.0, 10.0))
        for hour in range(23):
            now = told + day * DAY_S + hour * 3600
            stage = next_stage(stage, born, now, BERLIN, watch.look(now, 70.0 + hour * 3600))
    assert (stage.announced, stage.announced_at) == ("teen-13-15", told)


@settings(max_examples=5 * EXAMPLES, deadline=None)
@given(
    born=st.dates(date(2008, 1, 1), date(2019, 12, 31)),
    doings=st.lists(
        st.tuples(
            st.sampled_from(["runs", "is off", "clock set", "clock set while off"]),
            st.integers(1, 40),
            st.sampled_from([-56 * 365, -1, 1, 30, 40, 365, 10 * 365, 60 * 365, 0]),
        ),
        max_size=25,
    ),
)
def test_no_jump_of_the_clock_brings_a_profile_or_an_erasure_early(
    born: date, doings: list[tuple[str, int, int]]
) -> None:
    """What counts is the time that has really passed since the announcement: at least the thirty days, less one.

    A start with a wrong clock can pass for a day that was off, so each such start takes one day off the bound.
    """
    birth, real = Born(born.year, born.month), _at(2026, 12, 3, 12)
    stage, watch = first_stage("mia", birth, real, BERLIN), ClockWatch()
    ahead, false_days, told_at, adult_since, uptime = 0.0, 0, real, real, 0.0
    for doing, days, jump in doings:
        if doing != "runs":
            ahead = jump * DAY_S if doing.startswith("clock") else ahead
        if doing.endswith("off"):
            real += days * DAY_S if doing == "is off" else 60.0
            watch, uptime = ClockWatch(stage.seen_at), 0.0
            false_days += doing != "is off"
        for _ in range(4 * days if doing == "runs" else 3):
            real, uptime = real + DAY_S / 4, uptime + DAY_S / 4
            now, before = real + ahead, stage
            by_worker = before.announced and before.countdown.is_certain and before.takes_effect <= now
            passing = watch.look(now, uptime)
            stage = next_stage(stage, birth, now, BERLIN, passing)
            least = (NOTICE_DAYS - 1 - false_days) * DAY_S
            if by_worker or stage.profile != before.profile:
                assert real - told_at >= least
            if stage.profile == "adult" != before.profile:
                adult_since = real
            if stage.announced_at != before.announced_at:
                told_at, false_days = real, 0
            if passing.is_steady and is_erased_at(stage, now):
                assert real - adult_since >= least
                return


def test_now_means_now() -> None:
    now = _at(2026, 11, 1)
    stage = GrowthStage("mia", "2009-01", "teen-16-17").announcing("adult", _at(2026, 12, 2), now, BERLIN)
    adult = in_force(stage, now, BERLIN)
    assert (adult.profile, adult.announced, adult.erased_at) == ("adult", "", _at(2026, 12, 1))


def test_a_script_of_a_child_moves_a_profile_by_little_more_than_a_year() -> None:
    now = _at(2026, 5, 1)
    stage = GrowthStage("mia", "2016-05", "child-under-8").announcing("child-8-12", _at(2026, 6, 1), now, BERLIN)
    for _ in range(50_000):
        stage = put_off(stage, now, BERLIN)
    assert stage.takes_effect < now + (365 + NOTICE_DAYS + 1) * DAY_S
