"""The weekly report: one HTML file that asks nobody for anything. It speaks of topics and requests, not of pages.

It is made from the hourly sums and the requests, into which privacy was worked before they were written: of a person of whom nothing is
kept, nothing is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hedgerow.dashboards.pages import words
from hedgerow.dashboards.pages.charts import Bars, bars_of
from hedgerow.dashboards.pages.site import HERE
from hedgerow.journal.read import Reader, RequestRow, WhyCount
from hedgerow.policies.model import Policy, Privacy, Reason, Verdict

WEEK_S = 7 * 86400.0
_TOPICS = 6
_BACKGROUND = frozenset({"ads-trackers", "malware", "phishing", "crypto-mining", "new-domains"})
"""What programs ask for by themselves: it says nothing about a child."""


@dataclass(frozen=True, slots=True)
class TopicLine:
    """How often something was blocked in this week and in the one before."""

    why: str
    now: int
    before: int


@dataclass(frozen=True, slots=True)
class PersonReport:
    """One person's week."""

    name: str
    topics: tuple[TopicLine, ...]
    background: int
    requests: tuple[RequestRow, ...]
    bars: Bars
    questions: tuple[str, ...]


def weekly_report(reader: Reader, policy: Policy, now: float) -> str:
    """The report on the seven days before `now`, as HTML."""
    where = words.zone(policy.network.timezone)
    counts = reader.why_counts(now - 2 * WEEK_S)
    requests = [row for row in reader.requests(None, limit=1000) if row.last_at >= now - WEEK_S]
    people = tuple(_person(name, policy, counts, requests, now) for name in policy.people if _may_be_told(policy, name))
    environment = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html").render(
        people=people,
        silent=[name for name in policy.people if not _may_be_told(policy, name)],
        since=_day(now - WEEK_S, now, policy),
        until=_day(now, now, policy),
        clock=lambda at: words.clock_words(at, now, where),
        css=(HERE / "static" / "hedgerow.css").read_text(encoding="utf-8"),
    )


def _may_be_told(policy: Policy, name: str) -> bool:
    person = policy.people[name]
    layers = (person.rules, policy.household, policy.profiles[person.profile].rules)
    privacy = next((rules.privacy for rules in layers if rules.privacy is not None), Privacy.CATEGORY)
    return privacy is not Privacy.NONE


def _person(name: str, policy: Policy, counts: Iterable[WhyCount], requests: list[RequestRow], now: float) -> PersonReport:
    devices = {device.id for device in policy.devices.values() if device.person == name}
    border, midnight = int((now - WEEK_S) // 3600), words.midnight_before(now, words.zone(policy.network.timezone))
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
    topics = tuple(
        TopicLine(words.reason_words(*key), this_week[key], last_week[key])
        for key, _ in sorted((this_week + last_week).items(), key=lambda item: (-this_week[item[0]], -item[1]))[:_TOPICS]
    )
    days = [(_day(midnight + offset * 86400 + 43200, now, policy), by_day[offset]) for offset in range(-6, 1)]
    mine = tuple(row for row in requests if row.person == name or row.device in devices)
    return PersonReport(name, topics, background, mine, bars_of(days), _questions(name, topics, mine))


def _questions(name: str, topics: tuple[TopicLine, ...], requests: tuple[RequestRow, ...]) -> tuple[str, ...]:
    """Three to begin a talk with: about wishes first, never about guilt."""
    found = []
    if requests:
        found.append(f"What did {name} want to do at {requests[0].host}, and is there a good way to it?")
    grown = next((line for line in topics if line.now > 2 * max(line.before, 5)), None)
    if grown is not None:
        found.append(f"More was closed this week ({grown.why}). Did something new come up at school or among friends?")
    if topics and topics[0].now:
        found.append(f"Is what is closed most often ({topics[0].why}) closed for a reason that {name} understands?")
    found += [
        f"What was the best thing that {name} saw or made on the internet this week?",
        f"Is there something that does not work for {name}, and should?",
        f"Whom would {name} tell if something on the internet felt wrong?",
    ]
    return tuple(found[:3])


def _day(at: float, now: float, policy: Policy) -> str:
    moment = datetime.fromtimestamp(at, words.zone(policy.network.timezone))
    return f"{moment:%a} {moment.day} {moment:%b}" if abs(at - now) < 300 * 86400 else f"{moment:%Y-%m-%d}"
