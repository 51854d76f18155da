"""Today's card of each child: what is in force now, the time left, and the use so far.

Pure, except for reading the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from hedgerow.dashboards.control import BudgetRow
from hedgerow.dashboards.policy_index import PolicyIndex
from hedgerow.dashboards.words.rules import privacy_of, rule_layers
from hedgerow.journal.reader import DeviceRow, RequestRow
from hedgerow.policies.expiry import PersonTimes
from hedgerow.policies.model import Pause, Person, Policy, Privacy, Reason
from hedgerow.policies.time_model import PauseKind
from hedgerow.policies.times.budget import BudgetAccount, MarkedMinutes, minutes_between, minutes_within, used_minutes
from hedgerow.policies.times.closing import Closure

ONLINE_NOW_S = 300.0
"""Age of the last request of a device that is in use."""

MAX_CARDS = 36
"""Children with a card at a time; the page of people has all of them."""

_MINUTES_NOW = 5
_SUBJECTS_NOW, _SUBJECTS_SHOWN = 2, 5


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

    `use` holds the marked minutes of each account, `visits` those of each device by service and site, and `blocked`
    those of these services and sites that were blocked when the device last asked for them (`VisitReader`).
    """

    devices: tuple[DeviceRow, ...]
    pauses: tuple[Pause, ...]
    use: Mapping[BudgetAccount, MarkedMinutes]
    visits: Mapping[str, Mapping[str, MarkedMinutes]]
    blocked: Mapping[str, frozenset[str]]


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
    total = day.use.get((f"person:{person.name}", ""), {})
    marks = dict(_marks_by_subject(index, person, day))
    spent = used_minutes(total, midnight, now)
    open_now = {
        subject
        for device in devices_of(index, person.name)
        for subject in day.visits.get(device, {}).keys() - day.blocked.get(device, frozenset())
    }
    own = tuple(row for row in budgets if row.whose == person.name)
    ids = set(devices_of(index, person.name))
    devices = tuple(row for row in day.devices if row.device in ids or row.person == person.name)
    seen = max(map(last_used, devices), default=0.0) or None
    pause = next((each for each in day.pauses if each.person == person.name), None)
    return ChildCard(
        name=person.name,
        state=_state(times.closed, pause, seen, now),
        seen=seen,
        now_on=_now_on({each: marks[each] for each in open_now}, now) if shows_sites(policy, person) else (),
        is_private=not shows_sites(policy, person),
        closure=times.closed,
        bedtime=times.bedtime,
        pause=pause,
        left=min(own, key=lambda row: (bool(row.subject), row.left or 0), default=None),
        budgets=own,
        minutes=spent,
        use=_longest({subject: used_minutes(each, midnight, now) for subject, each in marks.items()}, spent),
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


def _marks_by_subject(index: PolicyIndex, person: Person, day: DaySoFar) -> Iterator[tuple[str, MarkedMinutes]]:
    """Yield the marked minutes of a person's use by service and site, or by topic where the log is private."""
    account = f"person:{person.name}"
    found: dict[str, dict[int, int]] = {}
    if shows_sites(index.policy, person):
        for device in devices_of(index, person.name):
            for subject, marks in day.visits.get(device, {}).items():
                known = found.setdefault(subject, {})
                known |= {hour: known.get(hour, 0) | bits for hour, bits in marks.items()}
    else:
        found = {
            subject.partition(":")[2]: dict(marks)
            for (whose, subject), marks in day.use.items()
            if whose == account and subject.startswith("category:")
        }
    total = day.use.get((account, ""), {})
    yield from ((subject, minutes_within(marks, total)) for subject, marks in found.items())


def _now_on(marks: Mapping[str, MarkedMinutes], now: float) -> tuple[str, ...]:
    """Return the subjects of the last minutes, the latest first."""
    since = now - 60 * _MINUTES_NOW
    latest = {subject: found[-1] for subject, each in marks.items() if (found := minutes_between(each, since, now))}
    return tuple(sorted(latest, key=lambda subject: (latest[subject], subject), reverse=True)[:_SUBJECTS_NOW])


def _longest(found: Mapping[str, int], total: int) -> tuple[tuple[str, int], ...]:
    """Return the subjects with the most minutes, and the rest of the total.

    Minutes with several subjects count for each of them.
    """
    used = ((subject, minutes) for subject, minutes in found.items() if minutes)
    longest = sorted(used, key=lambda item: (-item[1], item[0]))[:_SUBJECTS_SHOWN]
    rest = total - sum(minutes for _, minutes in longest)
    return *longest, *([("", rest)] if rest > 0 else [])
