"""The weekly report: one HTML file without external resources, about time, topics and requests, not pages.

It is made from sums and requests that already respect each person's privacy. Its charts are table cells of different
widths, because mail programs drop SVG and ask before they load images.

It begins conversations by three questions that fit a person's age, about wishes first and never about guilt. Topics
that a child should not have to explain, such as pornography or self-harm, are never named, whatever the age: a question
about them would accuse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from babel.dates import format_skeleton

from hedgerow.dashboards.templating import make_environment
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.dashboards.words.rules import privacy_of, rule_layers
from hedgerow.journal.reader import HourlyReasonCount, JournalReader, RequestRow
from hedgerow.policies.activity import REPORT_TOPICS
from hedgerow.policies.host_facts import AGE_BANDS
from hedgerow.policies.model import Person, Policy, Privacy, Reason, Verdict
from hedgerow.policies.times.budget import BudgetAccount, MarkedMinutes, minutes_within, used_minutes

_QUESTIONS = 3
OLDER_FROM = 13
_YOUNG_BELOW = 8
_UNKNOWN_AGE = _YOUNG_BELOW
"""Age for the questions where neither an age nor a built-in profile tells it."""

NAMEABLE_TOPICS = frozenset({"social", "video", "games", "shopping", "ai-chat", "messaging", "forums"})
"""Topics that a question may name. All others are sensitive, or mean nothing to a child."""

_YOUNG = (
    message("What did %(name)s like best on the screen this week? Can you do it together?"),
    message("Did anything on the screen make %(name)s sad or scared?"),
    message("Whom does %(name)s run to when something on the screen is strange?"),
)
_CHILD = (
    message("What was the best thing that %(name)s saw or made online this week?"),
    message("Is there something that does not work for %(name)s but should?"),
    message("Whom would %(name)s tell if something on the internet felt wrong?"),
)
_OLDER = (
    message("What would %(name)s show you from this week, a video, a game or something of their own?"),
    message("Which rule here would %(name)s change, and how would you know that it works?"),
    message(
        "What would %(name)s do if a friend were bullied or pressed for pictures online? Do you both know where to get help?"  # noqa: E501
    ),
)
WEEK_S = 7 * 86400.0
_TOPICS = 6
_BACKGROUND = frozenset({"ads-trackers", "malware", "phishing", "crypto-mining", "new-domains"})
"""Requests that programs make by themselves and that say nothing about a child."""


_ANSWERS = {"open": message("waiting for an answer"), "approved": message("yes"), "denied": message("no")}


@dataclass(frozen=True, slots=True)
class Change:
    """A topic or service with its title, and its minutes or blocks of this week and the one before."""

    name: str
    title: str
    now: int
    before: int


def age_of(person: Person) -> int:
    """Return a person's age, or the lowest one of their built-in profile."""
    by_profile = {profile: age for age, profile in AGE_BANDS.items()}
    return person.age if person.age is not None else by_profile.get(person.profile, _UNKNOWN_AGE)


def conversation_starters(
    person: Person, time: Sequence[Change], blocked: Sequence[Change], requests: Sequence[RequestRow], reader: Language
) -> tuple[str, ...]:
    """Return three questions.

    `time` and `blocked` are this week's topics and services, `requests` what was asked for, the latest first.
    """
    name, age, questions = person.name, age_of(person), []
    wanted = [labels.title_of(row.subject, reader) for row in requests if not row.chore]
    if wanted:
        text = message("What did %(name)s want to do at %(what)s, and is there a good way to do it?")
        questions.append(reader.gettext(text, name=name, what=wanted[0]))
    if age >= _YOUNG_BELOW:
        questions += _about_changes(person.name, age, time, blocked, reader)
    general = _YOUNG if age < _YOUNG_BELOW else _CHILD if age < OLDER_FROM else _OLDER
    questions += [reader.gettext(text, name=name) for text in general]
    return tuple(questions[:_QUESTIONS])


def _about_changes(
    name: str, age: int, time: Sequence[Change], blocked: Sequence[Change], reader: Language
) -> list[str]:
    questions = []
    has_before = any(change.before for change in (*time, *blocked))  # in the first week every topic is new
    more = next((change for change in time if has_before and change.now > 2 * max(change.before, 30)), None)
    if more is not None:
        text = message("%(what)s took more time than in other weeks. What is good about it at the moment?")
        questions.append(reader.gettext(text, what=more.title))
    wanted = [change for change in blocked if change.name in NAMEABLE_TOPICS]
    grown = next((change for change in wanted if has_before and change.now > 2 * max(change.before, 5)), None)
    if grown is not None:
        text = message("%(what)s: blocked more often this week. Did something new come up at school or among friends?")
        questions.append(reader.gettext(text, what=grown.title))
    elif wanted and wanted[0].now and age >= OLDER_FROM:
        text = message(
            "%(what)s: blocked most often this week. Does %(name)s find that rule fair, and what would be a better one?"
        )
        questions.append(reader.gettext(text, name=name, what=wanted[0].title))
    return questions


class Report(NamedTuple):
    """A rendered report: plain text, HTML for mail, data, and the values of the templates."""

    text: str
    html: str
    people: tuple[PersonReport, ...] = ()
    values: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ReportLine:
    """Minutes or counts of this week and the one before.

    `share` is the length of this week's bar, 0 to 100. `subject` is the topic or service, if it is about one.
    """

    what: str
    now: int
    before: int
    share: int = 0
    subject: str = ""


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
    used: set[str] = {use.device for use in journal.protections(None) if use.at > now - WEEK_S}
    used |= {row.device for row in counts if row.hour * 3600 > now - WEEK_S}
    templates = make_environment(reader)
    values = {
        "people": people,
        "absent": [
            name
            for name in policy.people
            if not any(each.id in used and name in (each.person, *each.sharers) for each in policy.devices.values())
        ],
        "silent": [name for name in policy.people if not _may_report(policy, name)],
        "since": _day(now - WEEK_S, policy, reader),
        "until": _day(now, policy, reader),
        "clock": lambda at: reader.clock(at, now, where),
        "minutes": format_minutes,
        "is_mail": True,
        "answers": {state: reader.gettext(text) for state, text in _ANSWERS.items()},
    }
    return Report(
        templates.overlay(autoescape=False).get_template("report.txt").render(values),
        templates.get_template("report.html").render(values),
        people,
        values,
    )


def format_minutes(minutes: int) -> str:
    """Return a duration in hours and minutes.

    >>> format_minutes(0), format_minutes(45), format_minutes(125)
    ('0 min', '45 min', '2 h 05 min')
    """
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _may_report(policy: Policy, name: str) -> bool:
    return privacy_of(rule_layers(policy, policy.people[name].profile, name, None)) is not Privacy.NONE


def _person(
    name: str,
    policy: Policy,
    counts: Iterable[HourlyReasonCount],
    use: Mapping[BudgetAccount, MarkedMinutes],
    requests: list[RequestRow],
    now: float,
    reader: Language,
) -> PersonReport:
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
    blocked = with_bar_lengths(
        [ReportLine(labels.short_reason(*key, reader), this_week[key], last_week[key], subject=key[1]) for key in keys]
    )
    days = [
        ReportLine(_day(midnight + offset * 86400 + 43200, policy, reader), by_day[offset], 0)
        for offset in range(-6, 1)
    ]
    mine = tuple(row for row in requests if row.person == name or row.device in devices)
    total, time = _time(name, use, border * 3600.0, now, reader)
    used = [Change("", line.what, line.now, line.before) for line in time]
    closed = [
        Change(what, labels.title_of(what, reader), this_week[reason, what], last_week[reason, what])
        for reason, what in keys
    ]
    questions = conversation_starters(policy.people[name], used, closed, mine, reader)
    return PersonReport(name, total, time, blocked, background, mine, with_bar_lengths(days), questions)


def _time(
    name: str, use: Mapping[BudgetAccount, MarkedMinutes], since: float, now: float, reader: Language
) -> tuple[ReportLine | None, tuple[ReportLine, ...]]:
    """Return a person's minutes from `since` to `now` and of the week before, in total and by topic.

    A topic has only minutes that are use, as on *Today*.
    """
    every = use.get((f"person:{name}", ""), {})

    def line_of(title: str, subject: str) -> ReportLine:
        marks = minutes_within(use.get((f"person:{name}", subject), {}), every)
        minutes = (used_minutes(marks, since, now), used_minutes(marks, since - WEEK_S, since))
        return ReportLine(title, *minutes, subject=subject.removeprefix("category:"))

    lines = [line_of(labels.title_of(topic, reader), f"category:{topic}") for topic in REPORT_TOPICS]
    lines = sorted((line for line in lines if line.now or line.before), key=lambda line: (-line.now, -line.before))
    total = line_of("", "")
    return (total if total.now or total.before else None), with_bar_lengths(lines)


def with_bar_lengths(lines: list[ReportLine]) -> tuple[ReportLine, ...]:
    """Return the lines with the lengths of their bars.

    >>> [line.share for line in with_bar_lengths([ReportLine("a", 10, 0), ReportLine("b", 5, 20),
    ...  ReportLine("c", 0, 1)])]
    [100, 50, 0]
    """
    longest = max((line.now for line in lines), default=0) or 1
    return tuple(replace(line, share=round(100 * line.now / longest)) for line in lines)


def _day(at: float, policy: Policy, reader: Language) -> str:
    moment = datetime.fromtimestamp(at, labels.zone(policy.network.timezone))
    return str(format_skeleton("MMMEd", moment, locale=reader.locale))
