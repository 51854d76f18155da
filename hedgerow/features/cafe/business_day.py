"""Days of business, which begin in the morning, since cafés are open after midnight."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAY_BEGINS = time(5)


def business_day(at: float, zone: ZoneInfo) -> date:
    """Return the day of business to which an instant belongs.

    >>> [str(business_day(at, ZoneInfo("UTC"))) for at in (17_999, 18_000)]
    ['1969-12-31', '1970-01-01']
    """
    return (datetime.fromtimestamp(at, zone) - timedelta(hours=DAY_BEGINS.hour)).date()


def business_day_start(day: date, zone: ZoneInfo) -> float:
    """Return the instant at which a day of business begins."""
    return datetime.combine(day, DAY_BEGINS, zone).timestamp()
