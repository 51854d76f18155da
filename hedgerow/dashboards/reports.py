"""The weekly report: one HTML file without external resources, about time, topics and requests, not pages.

It is made from sums and requests that already respect each person's privacy. Its charts are table cells of different widths, because mail
programs drop SVG and ask before they load images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from babel.dates import format_skeleton

from hedgerow.dashboards.conversation import Change, conversation_starters
from hedgerow.dashboards.templating import make_environment
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.dashboards.words.rules import privacy_of, rule_layers
from hedgerow.journal.reader import HourlyReasonCount, JournalReader, RequestRow, UsageCount
from hedgerow.policies.activity import REPORT_TOPICS
from hedgerow.policies.model import Policy, Privacy, Reason, Verdict

WEEK_S = 7 * 86400.0
_TOPICS = 6
_BACKGROUND = frozenset({"ads-trackers", "malware", "phishing", "crypto-mining", "new-domains"})
"""Requests that programs make by themselves and that say nothing about a child."""


_ANSWERS = {"open": message("waiting for an answer"), "approved": message("yes"), "denied": message("no")}


class Report(NamedTuple):
    """A rendered report: plain text, HTML and data."""

    text: str
    html: str
    people: tuple[PersonReport, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportLine:
    """Minutes or counts of this week and the one before. `share` is the length of this week's bar, 0 to 100."""

    what: str
    now: int
    before: int
    share: int = 0


@dataclass(frozen=True, slots=True)
class PersonReport:
    """One person's week. `time` is by topic, `total` is None if time is not counted, `days` counts blocks per day."""

    name: str
    total: ReportLine | None
    time: tuple[ReportLine, ...]
    blocked: tuple[ReportLine, ...]
    background: int
    requests: tuple[RequestRow, ...]
    days: tuple[ReportLine, ...]
    questions: tuple[str, ...]


def weekly_report(journal: JournalReader, policy: Policy, now: float, reader: Language) -> Report:
    """Return the report on the seven days before `now` in a language. Blocks on the disk."""
    where = labels.zone(policy.network.timezone)
    counts, use = journal.hourly_reasons(now - 2 * WEEK_S), journal.use(now - 2 * WEEK_S)
    requests = [row for row in journal.requests(None, limit=1000) if row.last_at >= now - WEEK_S]
    reported = [name for name in policy.people if _may_report(policy, name)]
    people = tuple(_person(name, policy, counts, use, requests, now, reader) for name in reported)
    templates = make_environment(reader)
    values = {
        "people": people,
        "silent": [name for name in policy.people if not _may_report(policy, name)],
        "since": _day(now - WEEK_S, policy, reader),
        "until": _day(now, policy, reader),
        "clock": lambda at: reader.clock(at, now, where),
        "minutes": format_minutes,
        "answers": {state: reader.gettext(text) for state, text in _ANSWERS.items()},
    }
    text = templates.overlay(autoescape=False).get_template("report.txt").render(values)
    return Report(text, templates.get_template("report.html").render(values), people)


def format_minutes(minutes: int) -> str:
    """Return a duration in hours and minutes.

    >>> format_minutes(0), format_minutes(45), format_minutes(125)
    ('0 min', '45 min', '2 h 05 min')
    """
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _may_report(policy: Policy, name: str) -> bool:
    return privacy_of(rule_layers(policy, policy.people[name].profile, name, None)) is not Privacy.NONE


def _person(
    name: str, policy: Policy, counts: Iterable[HourlyReasonCount], use: Iterable[UsageCount], requests: list[RequestRow], now: float,
    reader: Language,
) -> PersonReport:  # fmt: skip
    devices = {device.id for device in policy.devices.values() if device.person == name}
    border, midnight = int((now - WEEK_S) // 3600), labels.midnight_before(now, labels.zone(policy.network.timezone))
    this_week: Counter[tuple[Reason, str]] = Counter()
    last_week: Counter[tuple[Reason, str]] = Counter()
    by_day: Counter[int] = Counter()
    background = 0
    for row in counts:
        if row.device not in devices or row.verdict is not Verdict.BLOCK:
            continue
        if row.what in _BACKGROUND:
            background += row.count if row.hour >= border else 0
            continue
        (this_week if row.hour >= border else last_week)[row.reason, row.what] += row.count
        if row.hour >= border:
            by_day[int((row.hour * 3600 - midnight) // 86400)] += row.count
    keys = sorted((this_week + last_week), key=lambda key: (-this_week[key], -last_week[key]))[:_TOPICS]
    blocked = with_bar_lengths([ReportLine(labels.reason_text(*key, reader), this_week[key], last_week[key]) for key in keys])
    days = [ReportLine(_day(midnight + offset * 86400 + 43200, policy, reader), by_day[offset], 0) for offset in range(-6, 1)]
    mine = tuple(row for row in requests if row.person == name or row.device in devices)
    total, time = _time(name, use, border, reader)
    used = [Change("", line.what, line.now, line.before) for line in time]
    closed = [Change(what, labels.title_of(what, reader), this_week[reason, what], last_week[reason, what]) for reason, what in keys]
    questions = conversation_starters(policy.people[name], used, closed, mine, reader)
    return PersonReport(name, total, time, blocked, background, mine, with_bar_lengths(days), questions)


def _time(name: str, use: Iterable[UsageCount], border: int, reader: Language) -> tuple[ReportLine | None, tuple[ReportLine, ...]]:
    """Return a person's minutes, in total and by topic."""
    sums: Counter[tuple[str, bool]] = Counter()
    for row in use:
        if row.account == f"person:{name}":
            sums[row.subject, row.hour >= border] += row.minutes
    lines = [
        ReportLine(labels.title_of(topic, reader), sums[f"category:{topic}", True], sums[f"category:{topic}", False])
        for topic in REPORT_TOPICS
    ]
    lines = sorted((line for line in lines if line.now or line.before), key=lambda line: (-line.now, -line.before))
    total = ReportLine("", sums["", True], sums["", False])
    return (total if total.now or total.before else None), with_bar_lengths(lines)


def with_bar_lengths(lines: list[ReportLine]) -> tuple[ReportLine, ...]:
    """Return the lines with the lengths of their bars.

    >>> [line.share for line in with_bar_lengths([ReportLine("a", 10, 0), ReportLine("b", 5, 20), ReportLine("c", 0, 1)])]
    [100, 50, 0]
    """
    longest = max((line.now for line in lines), default=0) or 1
    return tuple(ReportLine(line.what, line.now, line.before, round(100 * line.now / longest)) for line in lines)


def _day(at: float, policy: Policy, reader: Language) -> str:
    moment = datetime.fromtimestamp(at, labels.zone(policy.network.timezone))
    return str(format_skeleton("MMMEd", moment, locale=reader.locale))
