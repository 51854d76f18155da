"""Activity grouped for people: services, sites, and what devices do in the background. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from operator import attrgetter
from zoneinfo import ZoneInfo

from hedgerow.blocklists.names import registered_domain
from hedgerow.journal.activity import HostActivity
from hedgerow.journal.reader import DecisionRow, DeviceRow
from hedgerow.policies.host_facts import HostFactIndex, Service, Services, background_kind, parents_of
from hedgerow.policies.model import Policy, Verdict

ADVERTISING = "ads-trackers"
"""The category of hosts that pages ask for without anybody wanting them."""

OWN_NAMES = "own"
"""The kind of background activity for the names of Hedgerow's own pages."""

WEEK = "week"


@dataclass(slots=True)
class ActivityGroup:
    """Activity of one service, site or background kind. `key` is the service's id, the registered domain, or the kind.

    `who` are people, or devices without one; `last` is the instant of the latest decision. `parts` begin with the
    latest.
    """

    key: str
    service: Service | None = None
    parts: list[HostActivity] = field(default_factory=list)
    counts: dict[Verdict, int] = field(default_factory=lambda: defaultdict(int))
    who: dict[str, None] = field(default_factory=dict)
    last: float = 0.0

    def add(self, part: HostActivity) -> None:
        self.parts.append(part)
        self.counts[part.verdict] += part.count
        self.who.setdefault(part.person or part.device)
        self.last = max(self.last, part.last)

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    @property
    def blocked(self) -> int:
        return self.counts[Verdict.BLOCK]

    @property
    def hosts(self) -> int:
        return len({part.host for part in self.parts})

    @property
    def name(self) -> str:
        """The service's name or the site."""
        return self.service.title if self.service is not None else self.key


@dataclass(frozen=True, slots=True)
class GroupedActivity:
    """The latest services and sites. `count` is the number of all of them.

    `private` is the activity without hosts; `background` is by kind, the busiest first.
    """

    groups: tuple[ActivityGroup, ...]
    private: ActivityGroup
    background: tuple[ActivityGroup, ...]
    count: int


def group_activity(hosts: Iterable[HostActivity], own_names: Collection[str], limit: int) -> GroupedActivity:
    """Group activity by service, or else by registered domain. `own_names` are those of Hedgerow's pages.

    Only the latest `limit` groups are made: a week has many thousands.
    """
    groups: dict[str, ActivityGroup | None] = {}
    background: dict[str, ActivityGroup] = {}
    private = ActivityGroup("")
    homes: dict[str, _Home] = {"": ("", "", None)}
    for part in sorted(hosts, key=attrgetter("last"), reverse=True):
        host = part.host
        found = homes.get(host)
        if found is None:
            found = homes[host] = _home_of(host, own_names)
        kind, key, service = found
        if not host:
            private.add(part)
        elif kind or part.what == ADVERTISING:
            kind = kind or ADVERTISING
            if kind not in background:
                background[kind] = ActivityGroup(kind)
            background[kind].add(part)
        else:
            if key not in groups:
                groups[key] = ActivityGroup(key, service) if len(groups) < limit else None
            if (group := groups[key]) is not None:
                group.add(part)
    busiest = sorted(background.values(), key=lambda group: -group.count)
    return GroupedActivity(tuple(group for group in groups.values() if group), private, tuple(busiest), len(groups))


type _Home = tuple[str, str, Service | None]
"""The group of a host: a kind of background activity, or else the key of a service or site, with the service."""


def _home_of(host: str, own_names: Collection[str]) -> _Home:
    if any(name in own_names for name in parents_of(host)):
        return OWN_NAMES, "", None
    if kind := background_kind(host):
        return kind, "", None
    facts = HostFactIndex.load()
    service = next(iter(facts.services_of(host)), "")
    return ("", service, facts.services.by_id[service]) if service else ("", registered_domain(host), None)


def merge_similar(rows: Iterable[DecisionRow]) -> tuple[DecisionRow, ...]:
    """Return the rows in order, with those that display the same merged into the first, whose count is that of all."""
    merged: dict[tuple[object, ...], DecisionRow] = {}
    for row in rows:
        display = (row.device, row.person, row.reason, row.what, row.host, row.url, row.rule)
        first = merged.get(display)
        merged[display] = row if first is None else replace(first, count=first.count + row.count)
    return tuple(merged.values())


def services_named(text: str) -> tuple[Service, ...]:
    """Return the services whose name contains a text, without regard to case, spaces and signs; those named so exactly
    come first.

    >>> [service.id for service in services_named("you tube")][:1], services_named("")
    (['youtube'], ())
    """
    wanted = _letters(text)
    if not wanted:
        return ()
    found = [
        each for each in Services.load().by_id.values() if wanted in _letters(each.title) or wanted in _letters(each.id)
    ]
    return tuple(
        sorted(found, key=lambda each: (wanted not in (_letters(each.title), _letters(each.id)), len(each.title)))
    )


def owners_of(policy: Policy, devices: Iterable[DeviceRow]) -> list[tuple[str, str]]:
    """Return the values and names by which an explanation is asked for: people with a device, and devices without a
    person.
    """
    owners = {each.person for each in policy.devices.values()}
    people = [(f"person:{name}", name) for name in policy.people if name in owners]
    others = {each.id: str(each.id) for each in policy.devices.values() if not each.person}
    others |= {row.device: row.name or row.device for row in devices if row.device not in policy.devices}
    return people + [(f"device:{id}", name) for id, name in others.items()]


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


@dataclass(frozen=True, slots=True)
class Period:
    """A day, or a week up to today. `since` is inclusive, `before` is not."""

    value: str
    since: float
    before: float
    day: date | None = None


def periods(now: float, where: ZoneInfo) -> tuple[Period, ...]:
    """Return the periods to choose from: today, the six days before, and all seven together."""
    today = datetime.fromtimestamp(now, where).date()

    def midnight(day: date) -> float:
        return datetime(day.year, day.month, day.day, tzinfo=where).timestamp()

    days = [today - timedelta(days=number) for number in range(7)]
    single = [Period(day.isoformat(), midnight(day), midnight(day + timedelta(days=1)), day) for day in days]
    return (*single, Period(WEEK, single[-1].since, single[0].before))
