"""Decisions, times and numbers in plain words. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hedgerow.dashboards.api.control import HowLong
from hedgerow.policies.model import Reason, Verdict


def zone(name: str) -> ZoneInfo:
    """The time zone of this name, UTC where it is not known."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def reason_words(reason: Reason, what: str) -> str:
    """Why, as the end of a sentence.

    >>> reason_words(Reason.CATEGORY, "gambling"), reason_words(Reason.DEFAULT, "")
    ('topic: gambling', 'no rule against it')
    """
    match reason:
        case Reason.LIFELINE:
            return "a helpline"
        case Reason.PAUSE:
            return "the network is paused"
        case Reason.CONDUCT:
            return "the code of conduct was not accepted yet"
        case Reason.BEDTIME:
            return f"bedtime ({what})" if what else "bedtime"
        case Reason.SCHEDULE:
            return f"closed at this time ({what})" if what else "closed at this time"
        case Reason.BUDGET:
            return f"time is used up ({what})" if what else "time is used up"
        case Reason.GRANT:
            return f"granted: {what}" if what else "granted"
        case Reason.EXCEPTION:
            return f"allowed by the policy: {what}" if what else "allowed by the policy"
        case Reason.RULE:
            return f"blocked by the policy: {what}" if what else "blocked by the policy"
        case Reason.BYPASS:
            return "a way round the filter"
        case Reason.SERVICE:
            return f"service: {what}"
        case Reason.CATEGORY:
            return f"topic: {what}"
        case Reason.SAFE_SEARCH:
            return f"safe search: {what}" if what else "safe search"
        case Reason.SEARCH:
            return f"words of a search: {what}" if what else "words of a search"
        case Reason.PAGE:
            return f"words of the page: {what}" if what else "words of the page"
        case Reason.FILE:
            return f"kind of file: {what}" if what else "kind of file"
        case Reason.DEFAULT:
            return "no rule against it"
        case _:
            assert_never(reason)


def verdict_words(verdict: Verdict) -> str:
    """What happened to it, in one word."""
    match verdict:
        case Verdict.ALLOW | Verdict.INSPECT:
            return "allowed"
        case Verdict.BLOCK:
            return "blocked"
        case Verdict.REWRITE:
            return "made safe"
        case _:
            assert_never(verdict)


def clock_words(at: float, now: float, where: ZoneInfo) -> str:
    """An instant as people say it: the time today, the day and time this year, the date before that."""
    moment, today = datetime.fromtimestamp(at, where), datetime.fromtimestamp(now, where)
    if moment.date() == today.date():
        return moment.strftime("%H:%M")
    if moment.year == today.year:
        return f"{moment.day} {moment:%b %H:%M}"
    return f"{moment.day} {moment:%b %Y}"


def iso(at: float) -> str:
    """An instant for machines, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def ago_words(seconds: float) -> str:
    """How long something took or is past, in its largest fitting unit.

    >>> ago_words(5), ago_words(90), ago_words(7200), ago_words(200000), ago_words(-3)
    ('moments', '1 min', '2 h', '2 days', 'moments')
    """
    if seconds < 60:
        return "moments"
    if seconds < 3600:
        return f"{int(seconds // 60)} min"
    if seconds < 2 * 86400:
        return f"{int(seconds // 3600)} h"
    return f"{int(seconds // 86400)} days"


def midnight_before(now: float, where: ZoneInfo) -> float:
    """The instant at which the local day of `now` began."""
    day = datetime.fromtimestamp(now, where)
    return day.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp()


def end_of(how_long: HowLong, now: float, timezone: str) -> float | None:
    """The instant at which a permission given now ends, None for good; a day ends at the midnight of the network's clocks.

    >>> end_of(HowLong.HOUR, 0.0, "UTC"), end_of(HowLong.TODAY, 90000.0, "UTC"), end_of(HowLong.GOOD, 0.0, "UTC")
    (3600.0, 172800.0, None)
    """
    match how_long:
        case HowLong.HOUR:
            return now + 3600
        case HowLong.TODAY:
            where = zone(timezone)
            tomorrow = datetime.fromtimestamp(now, where).date() + timedelta(days=1)
            return datetime.combine(tomorrow, datetime.min.time(), where).timestamp()
        case HowLong.GOOD:
            return None
        case _:
            assert_never(how_long)
