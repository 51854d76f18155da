"""Today's card of each child: what holds now, the time left, and the use so far.

Pure, except for reading the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from hedgerow.dashboards.control import BudgetRow
from hedgerow.dashboards.policy_index import PolicyIndex
from hedgerow.dashboards.words.rules import privacy_of, rule_layers
from hedgerow.journal.reader import DeviceRow, RequestRow, UsageCount
from hedgerow.policies.expiry import PersonTimes
from hedgerow.policies.host_facts import HostFactIndex, is_background, parents_of
from hedgerow.policies.model import Pause, Person, Policy, Privacy, Reason
from hedgerow.policies.time_model import PauseKind
from hedgerow.policies.times.closing import Closure

ONLINE_NOW_S = 300.0
"""Age of the last request of a device that is in use."""

MAX_CARDS = 36
"""Children with a card at a time; the page of people has all of them."""

_MINUTES_NOW = 5
_SUBJECTS_NOW, _SUBJECTS_SHOWN = 2, 5
_SECOND_LEVEL_LETTERS = 3


class ChildState(StrEnum):
    """The first of these that holds is shown."""

    PAUSED = "paused"
    CLOSED = "closed"
    HOMEWORK = "homework"
    ONLINE = "online"
    OFFLINE = "offline"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class ChildCard:
    """A child on the page. `now_on` and `use` name services and sites, or only topics where the log is private.

    `use` has the minutes of each, those of all others last, with an empty name.

    `closure` is a pause, bedtime or other closing in force, `bedtime` tonight's, `pause` what the button *Resume* ends.
    `seen` is the last use of Hedgerow, None if no device has ever used it. `left` is the budget that ends first.
    """

    name: str
    state: ChildState
    seen: float | None
    now_on: tuple[str, ...]
    is_private: bool
    closure: Closure | None
    bedtime: float | None
    pause: Pause | None
    left: BudgetRow | None
    budgets: tuple[BudgetRow, ...]
    minutes: int
    use: tuple[tuple[str, int], ...]
    devices: tuple[DeviceRow, ...]
    has_devices: bool


@dataclass(frozen=True, slots=True)
class DaySoFar:
    """Data of the journal for the cards.

    `minutes` holds the minutes of the day by device and subject, a bit for each (`VisitReader`).
    """

    devices: tuple[DeviceRow, ...]
    pauses: tuple[Pause, ...]
    usage: tuple[UsageCount, ...]
    minutes: Mapping[str, Mapping[str, int]]


@lru_cache(4096)
def subject_of(host: str) -> str | None:
    """Return the service or the site of a host, or None for background traffic.

    >>> subject_of("i.ytimg.com"), subject_of("www.bbc.co.uk"), subject_of("en.wikipedia.org")
    ('youtube', 'bbc.co.uk', 'wikipedia.org')
    """
    if is_background(host):
        return None
    services = HostFactIndex.load().services_of(host)
    if services:
        return services[0]
    above = list(parents_of(host))
    if len(above) < 3:
        return host
    return above[-3] if len(above[-2].partition(".")[0]) <= _SECOND_LEVEL_LETTERS else above[-2]


def children_of(policy: Policy) -> list[Person]:
    """Return the people whose profile is for children, in the order of the file."""
    return [person for person in policy.people.values() if policy.profiles[person.profile].is_for_children]


def devices_of(index: PolicyIndex, person: str) -> list[str]:
    """Return the devices that belong to one person alone."""
    return [device.id for device in index.devices_of.get(person, ())]


def last_used(row: DeviceRow) -> float:
    """Return when a device last used Hedgerow, or 0. That it is on the network does not count."""
    return row.last_seen if row.allowed or row.blocked else max(row.protections.values(), default=0.0)


def shown_children(policy: Policy, requests: Iterable[RequestRow], pauses: Iterable[Pause]) -> list[Person]:
    """Return the children with a card: all of them or, of more than `MAX_CARDS`, those who wait or are paused first."""
    children = children_of(policy)
    if len(children) > MAX_CARDS:
        first = {request.person for request in requests} | {pause.person for pause in pauses}
        children.sort(key=lambda person: person.name not in first)
    return children[:MAX_CARDS]


def shows_sites(policy: Policy, person: Person) -> bool:
    """Return whether the person's privacy lets the log name sites."""
    return privacy_of(rule_layers(policy, person.profile, person.name, None)) in (Privacy.FULL, Privacy.DOMAIN)


def child_cards(
    index: PolicyIndex,
    children: Iterable[Person],
    day: DaySoFar,
    times: Mapping[str, PersonTimes],
    budgets: Iterable[BudgetRow],
    midnight: float,
    now: float,
) -> list[ChildCard]:
    """Return a card for each of some children."""
    budgets = tuple(budgets)
    return [_card(index, person, day, times[person.name], budgets, midnight, now) for person in children]


def _card(
    index: PolicyIndex,
    person: Person,
    day: DaySoFar,
    times: PersonTimes,
    budgets: tuple[BudgetRow, ...],
    midnight: float,
    now: float,
) -> ChildCard:
    policy = index.policy
    total, use = _use(index, person, day)
    own = tuple(row for row in budgets if row.whose == person.name)
    ids = set(devices_of(index, person.name))
    devices = tuple(row for row in day.devices if row.device in ids or row.person == person.name)
    seen = max(map(last_used, devices), default=0.0) or None
    pause = next((each for each in day.pauses if each.person == person.name), None)
    return ChildCard(
        name=person.name,
        state=_state(times.closed, pause, seen, now),
        seen=seen,
        now_on=_now_on(day, ids, midnight, now) if shows_sites(policy, person) else (),
        is_private=not shows_sites(policy, person),
        closure=times.closed,
        bedtime=times.bedtime,
        pause=pause,
        left=min(own, key=lambda row: (bool(row.subject), row.left or 0), default=None),
        budgets=own,
        minutes=total,
        use=use,
        devices=devices,
        has_devices=bool(ids),
    )


def _state(closure: Closure | None, pause: Pause | None, seen: float | None, now: float) -> ChildState:
    if closure is not None:
        return ChildState.PAUSED if closure.reason is Reason.PAUSE else ChildState.CLOSED
    if pause is not None and pause.kind is PauseKind.HOMEWORK:
        return ChildState.HOMEWORK
    if seen is None:
        return ChildState.UNSEEN
    return ChildState.ONLINE if now - seen < ONLINE_NOW_S else ChildState.OFFLINE


def _now_on(day: DaySoFar, devices: set[str], midnight: float, now: float) -> tuple[str, ...]:
    """Return the subjects of the last minutes, the latest first."""
    oldest = int(now // 60 - midnight // 60) - _MINUTES_NOW
    latest: dict[str, int] = {}
    for device in devices:
        for subject, bits in day.minutes.get(device, {}).items():
            latest[subject] = max(latest.get(subject, -1), bits.bit_length() - 1)
    fresh = [(minute, subject) for subject, minute in latest.items() if minute >= oldest]
    return tuple(subject for _, subject in sorted(fresh, reverse=True)[:_SUBJECTS_NOW])


def _use(index: PolicyIndex, person: Person, day: DaySoFar) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Return the minutes of the day in all, and by service and site, or by topic where the log is private.

    The longest come first. Minutes with several subjects count for each of them.
    """
    account = f"person:{person.name}"
    total = sum(row.minutes for row in day.usage if row.account == account and not row.subject)
    found: dict[str, int] = {}
    if shows_sites(index.policy, person):
        bits: dict[str, int] = {}
        for device in devices_of(index, person.name):
            for subject, minutes in day.minutes.get(device, {}).items():
                bits[subject] = bits.get(subject, 0) | minutes
        found = {subject: minutes.bit_count() for subject, minutes in bits.items()}
        everything = 0
        for minutes in bits.values():
            everything |= minutes
        total = max(total, everything.bit_count())
    else:
        for row in day.usage:
            if row.account == account and row.subject.startswith("category:"):
                subject = row.subject.partition(":")[2]
                found[subject] = found.get(subject, 0) + row.minutes
    longest = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:_SUBJECTS_SHOWN]
    rest = total - sum(minutes for _, minutes in longest)
    return total, (*longest, *([("", rest)] if rest > 0 else []))
