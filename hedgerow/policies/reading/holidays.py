"""Reading of holidays: dates, ranges of dates, and calendars (.ics) such as schools and states publish."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hedgerow.files import read_named_file
from hedgerow.policies.text import yaml_tree
from hedgerow.policies.text.suggestions import did_you_mean, guess_date, with_hint
from hedgerow.policies.text.yaml_tree import YamlTree
from hedgerow.policies.times.schedule import MAX_RANGE_DAYS, parse_dates

if TYPE_CHECKING:
    from icalendar import Event

YEARS_REPEATED = 20
MAX_DAYS = 100_000
"""Days of all events of a calendar."""
MAX_CALENDAR_BYTES = 4 * 1024 * 1024
_FREQUENCIES = frozenset({"DAILY", "WEEKLY", "MONTHLY", "YEARLY"})
_FORMS = "use a date, a range such as 2026-12-19..2027-01-03, a calendar file that ends in .ics, or the URL of one"


@dataclass(slots=True)
class CalendarSources:
    """Locations of calendars: files in `base`, copies of downloaded ones in `copies`.

    Readers add to `files` and `urls`.

    Files of a machine `is_elsewhere` are not opened.
    """

    base: Path
    copies: Path | None = None
    files: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    is_elsewhere: bool = False


def calendar_copy_path(url: str, folder: Path) -> Path:
    """Return the path of the last good copy of a calendar."""
    return folder / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}.ics"


def read_holidays(
    tree: YamlTree, path: yaml_tree.KeyPath, texts: list[str], calendars: CalendarSources
) -> tuple[date, ...]:
    """Return all dates in order. A calendar that was never downloaded has none, so every day is a school day."""
    found: set[date] = set()
    for index, text in enumerate(texts):
        try:
            if text.lower().startswith(("http://", "https://", "webcal://")):
                found.update(_from_url(text, calendars))
            elif text.lower().endswith(".ics"):
                file = (calendars.base / text).absolute()
                calendars.files.append(str(file))
                found.update(() if calendars.is_elsewhere else days_of_calendar(file))
            else:
                found.update(parse_dates(text) if text[:1].isdigit() else _refuse_text(text))
        except ValueError as error:
            tree.add_problem((*path, index), with_hint(error, did_you_mean(guess_date(text))))
    return tuple(sorted(found))


def _from_url(text: str, calendars: CalendarSources) -> tuple[date, ...]:
    url = re.sub("^webcal:", "https:", text, flags=re.IGNORECASE)
    try:
        is_whole = bool(urlsplit(url).hostname)
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ValueError(f"'{text}' is not a complete URL")
    calendars.urls.append(url)
    if calendars.copies is None:
        return ()
    copy = calendar_copy_path(url, calendars.copies)
    calendars.files.append(str(copy))
    return tuple(days_of_calendar(copy)) if copy.exists() else ()


def _refuse_text(text: str) -> tuple[date, ...]:
    raise ValueError(f"'{text}' is not a holiday: {_FORMS}")


def days_of_calendar(file: Path) -> Iterator[date]:
    """Yield the days of a calendar's events. Raises ValueError with a sentence."""
    from icalendar import Calendar, Event  # loaded only for policies with a calendar

    try:
        if file.stat().st_size > MAX_CALENDAR_BYTES:
            raise ValueError(f"'{file}' is too large for a calendar")
        calendars = Calendar.from_ical(read_named_file(file), multiple=True)
        events = [event for calendar in calendars for event in calendar.walk("VEVENT") if isinstance(event, Event)]
    except OSError as error:
        raise ValueError(f"'{file}' cannot be read: {error.strerror}") from None
    except Exception as error:
        # The library raises various exceptions for what is not a calendar.
        raise ValueError(
            f"'{file}' is not a calendar: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from None
    if not events:
        raise ValueError(f"'{file}' is not a calendar with events")
    days = 0
    for event in events:
        for day in _days_of(event, file):
            if (days := days + 1) > MAX_DAYS:
                raise ValueError(f"'{file}' has more days than a calendar of holidays")
            yield day


def _days_of(event: Event, file: Path) -> Iterator[date]:
    try:
        first = _day(event.DTSTART)
        ends = event.get("DTEND")
        # RFC 5545, 3.6.1: the end of an event of whole days is the day after its last.
        length = max(1, (_day(ends.dt) - first).days) if ends is not None else max(1, _duration(event))
    except Exception as error:
        raise ValueError(f"an event of '{file}' has no valid date: {error}") from None
    if length > MAX_RANGE_DAYS:
        raise ValueError(f"the event '{event.get('SUMMARY', '')}' of '{file}' is longer than a year")
    try:
        for begin in _recurrences(event, first):
            yield from (begin + timedelta(days=step) for step in range(length))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"'{file}': {error}") from None


def _duration(event: Event) -> int:
    given = event.get("DURATION")
    return int(given.dt.days) if given is not None else 1


def _recurrences(event: Event, first: date) -> Iterator[date]:
    """Yield the first days of an event for some years (RFC 5545, section 3.8.5.3). Raises ValueError."""
    rule = event.get("RRULE")
    if rule is None:
        yield first
        return
    from dateutil.rrule import rrulestr  # type: ignore[import-untyped]

    begin = datetime(first.year, first.month, first.day)
    try:
        last = begin.replace(year=first.year + YEARS_REPEATED, day=min(first.day, 28))
        parsed = rrulestr(rule.to_ical().decode(), dtstart=begin, ignoretz=True)
        if not all(interval >= 1 for interval in rule.get("INTERVAL", [])):
            raise ValueError("its interval is less than 1")  # dateutil would search for the next day without end
        is_bounded = rule["FREQ"][0].upper() in _FREQUENCIES  # a rule by seconds that no date fits takes hours
        until, count = [_midnight_or_time(each) for each in rule.get("UNTIL", [])], rule.get("COUNT", [None])[0]
        moments = parsed.replace(until=min([*until, last]), count=None) if is_bounded else ()
    except Exception as error:  # the library raises various exceptions for what is not a rule
        raise ValueError(f"an event repeats by a rule that can't be read: {error}") from None
    if not is_bounded:
        raise ValueError("an event repeats more often than daily")
    yield from (moment.date() for moment in islice(moments, count))


def _midnight_or_time(moment: date) -> datetime:
    """Return a moment without its time zone; that of a day is its first."""
    return (
        moment.replace(tzinfo=None) if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day)
    )


def _day(moment: object) -> date:
    if isinstance(moment, datetime):
        return moment.date()
    if isinstance(moment, date):
        return moment
    raise ValueError(f"{moment!r} is not a date")
