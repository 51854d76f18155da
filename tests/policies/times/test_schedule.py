from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.blocklists.rules import Origin
from hedgerow.policies.time_model import Schedule, Span
from hedgerow.policies.times.schedule import (
    NIGHT_GROUPS,
    night_interval,
    parse_clock,
    parse_days,
    parse_interval,
    state_at,
)

ZONES = (
    "UTC",
    "Europe/Lisbon",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/St_Johns",
    "Africa/Casablanca",
)
# Apia left out a day in 2011
FIRST, LAST = datetime(2011, 1, 1, tzinfo=UTC).timestamp(), datetime(2030, 1, 1, tzinfo=UTC).timestamp()

spans = st.builds(
    lambda weekday, start, length: Span(weekday, start, start + length),
    st.integers(0, 6),
    st.integers(0, 1439),
    st.integers(1, 1440),
)
schedules = st.builds(lambda found: Schedule(tuple(found), Origin("test")), st.lists(spans, max_size=8))
zones = st.sampled_from(ZONES).map(ZoneInfo)
# Half of the moments lie near the nights on which clocks change.
CHANGES = [
    datetime(2026, 3, 29, 1),
    datetime(2026, 10, 25, 1),
    datetime(2026, 3, 8, 7),
    datetime(2026, 11, 1, 6),
    datetime(2026, 4, 4, 15),
    datetime(2011, 12, 30, 10),
]
near_changes = st.builds(
    lambda change, offset: change.replace(tzinfo=UTC).timestamp() + offset,
    st.sampled_from(CHANGES),
    st.integers(-90_000, 90_000),
)
moments = st.one_of(st.integers(int(FIRST), int(LAST)).map(float), near_changes)


def _holds_by_the_clock(schedule: Schedule, zone: ZoneInfo, now: float) -> bool:
    """Return whether a schedule is in force by wall clock and calendar alone."""
    wall = datetime.fromtimestamp(now, zone).replace(tzinfo=None)
    minutes = wall.hour * 60 + wall.minute + wall.second / 60
    yesterday = (wall - timedelta(days=1)).weekday()
    return any(
        (span.weekday == wall.weekday() and span.start <= minutes < span.end)
        or (span.weekday == yesterday and span.start <= minutes + 1440 < span.end)
        for span in schedule.spans
        if span.end <= 2880
    )


def _clocks_change_near(zone: ZoneInfo, now: float) -> bool:
    offsets = {datetime.fromtimestamp(now + hours * 3600, zone).utcoffset() for hours in range(-50, 51)}
    return len(offsets) > 1


@settings(max_examples=400)
@given(schedules, zones, moments)
def test_the_state_agrees_with_wall_clock_time(schedule: Schedule, zone: ZoneInfo, now: float) -> None:
    state = state_at(schedule, zone, now)
    by_the_clock = _holds_by_the_clock(schedule, zone, now)
    if by_the_clock or not _clocks_change_near(zone, now):
        # While clocks go back, it also holds between the first and the second time of an end.
        assert state.active == by_the_clock


@settings(max_examples=400)
@given(schedules, zones, moments)
def test_until_is_exact(schedule: Schedule, zone: ZoneInfo, now: float) -> None:
    state = state_at(schedule, zone, now)
    if state.until is None:
        for days in range(1, 8):
            assert state_at(schedule, zone, now + days * 86_400).active == state.active
        return
    assert state.until > now
    assert state_at(schedule, zone, state.until).active != state.active
    for share in (0.0, 0.25, 0.5, 0.75, 0.999):
        between = now + (state.until - 1 - now) * share
        if between > now:
            assert state_at(schedule, zone, between) == state


@settings(max_examples=200)
@given(schedules, spans, zones, moments)
def test_adding_a_span_never_removes_time(schedule: Schedule, span: Span, zone: ZoneInfo, now: float) -> None:
    more = Schedule((*schedule.spans, span), schedule.origin)
    assert state_at(more, zone, now).active >= state_at(schedule, zone, now).active


def test_never_and_always() -> None:
    zone = ZoneInfo("Europe/Lisbon")
    never = Schedule((), Origin("test"))
    always = Schedule(tuple(Span(day, 0, 1440) for day in range(7)), Origin("test"))
    for now in (FIRST, datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp(), LAST):
        assert (state_at(never, zone, now).active, state_at(never, zone, now).until) == (False, None)
        assert (state_at(always, zone, now).active, state_at(always, zone, now).until) == (True, None)


@pytest.mark.parametrize(
    ("zone", "evening", "hours"),
    [
        ("Europe/Lisbon", datetime(2026, 3, 28, 20, 30), 9.5),
        ("Europe/Lisbon", datetime(2026, 10, 24, 20, 30), 11.5),
        ("Europe/Lisbon", datetime(2026, 6, 1, 20, 30), 10.5),
        ("America/New_York", datetime(2026, 3, 7, 20, 30), 9.5),
        ("America/New_York", datetime(2026, 10, 31, 20, 30), 11.5),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 20, 30), 11.0),
        ("Australia/Lord_Howe", datetime(2026, 10, 3, 20, 30), 10.0),
    ],
)
def test_nights_with_a_clock_change(zone: str, evening: datetime, hours: float) -> None:
    bedtime = Schedule(
        tuple(Span(day, *night_interval(*parse_interval("20:30-07:00"))) for day in range(7)), Origin("test")
    )
    start = evening.replace(tzinfo=ZoneInfo(zone)).timestamp()
    assert state_at(bedtime, ZoneInfo(zone), start - 1).until == start
    state = state_at(bedtime, ZoneInfo(zone), start)
    assert state.active
    assert state.until is not None
    assert (state.until - start) / 3600 == hours
    morning = datetime.fromtimestamp(state.until, ZoneInfo(zone))
    assert (morning.hour, morning.minute, morning.second) == (7, 0, 0)


@pytest.mark.parametrize("text", ["24:01", "7", "ab:cd", "", "12:345", "-1:00", "12:60", "1:2:3"])
def test_invalid_times(text: str) -> None:
    with pytest.raises(ValueError):
        parse_clock(text)


@pytest.mark.parametrize("text", ["20:30", "20:30-", "-07:00", "24:00-07:00", "07:00-07:00", "a-b"])
def test_invalid_intervals(text: str) -> None:
    with pytest.raises(ValueError):
        parse_interval(text)


@given(st.integers(0, 1439), st.integers(0, 1440))
def test_intervals_round_trip(start: int, end: int) -> None:
    text = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    if start == end:
        return
    assert parse_interval(text) == (start, end if end > start else end + 1440)


@pytest.mark.parametrize(
    ("text", "days", "rank"),
    [
        ("every-day", range(7), 0),
        ("school-nights", (6, 0, 1, 2, 3), 1),
        ("weekend", (4, 5), 1),
        ("weekdays", range(5), 1),
        ("mon", (0,), 4),
        ("Sunday", (6,), 4),
        ("sat-mon", (5, 6, 0), 4),
        ("tue,thu", (1, 3), 4),
        ("mon-wed, sat", (0, 1, 2, 5), 4),
    ],
)
def test_days(text: str, days: range, rank: int) -> None:
    found = parse_days(text, NIGHT_GROUPS)
    assert (found.ordinary, found.rank) == (frozenset(days), rank)
