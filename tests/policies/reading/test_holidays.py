"""Events of calendars that repeat (RFC 5545, section 3.8.5.3)."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from hedgerow.policies.reading.holidays import YEARS_REPEATED, days_of_calendar

CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:x
BEGIN:VEVENT
UID:1
DTSTART;VALUE=DATE:20270101
RRULE:{}
END:VEVENT
END:VCALENDAR
"""


def days_of(rule: str, folder: Path) -> list[date]:
    file = folder / "holidays.ics"
    file.write_text(CALENDAR.format(rule))
    return [*days_of_calendar(file)]


@pytest.mark.parametrize(
    ("rule", "count", "last"),
    [
        ("FREQ=YEARLY", YEARS_REPEATED + 1, date(2047, 1, 1)),
        ("FREQ=YEARLY;COUNT=3", 3, date(2029, 1, 1)),
        ("FREQ=YEARLY;INTERVAL=2;COUNT=3", 3, date(2031, 1, 1)),
        ("FREQ=YEARLY;COUNT=100", YEARS_REPEATED + 1, date(2047, 1, 1)),
        ("freq=yearly;until=20300101", 4, date(2030, 1, 1)),
        ("FREQ=DAILY;UNTIL=20270105T120000Z", 5, date(2027, 1, 5)),
        ("FREQ=YEARLY;UNTIL=99990101", YEARS_REPEATED + 1, date(2047, 1, 1)),
        ("FREQ=MONTHLY;BYMONTHDAY=31;UNTIL=20280101T000000", 7, date(2027, 12, 31)),
    ],
)
def test_an_event_repeats_as_its_rule_says_for_twenty_years(rule: str, count: int, last: date, tmp_path: Path) -> None:
    days = days_of(rule, tmp_path)
    assert (len(days), days[-1]) == (count, last)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("FREQ=HOURLY", "more often than daily"),
        ("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30", "more often than daily"),
        ("FREQ=YEARLY;INTERVAL=0;BYMONTH=2;BYMONTHDAY=30", "interval is less than 1"),
        ("FREQ=DAILY;INTERVAL=0", "interval is less than 1"),
        ("FREQ=DAILY;INTERVAL=-1", "interval is less than 1"),
        ("FREQ=YEARLY,DAILY", "can't be read"),
        ("COUNT=3", "can't be read"),
        ("FREQ=YEARLY;COUNT=1,2", "can't be read"),
        ("FREQ=YEARLY;UNTIL=20280101,20290101", "can't be read"),
    ],
)
def test_a_rule_without_end_or_meaning_is_refused(rule: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        days_of(rule, tmp_path)
